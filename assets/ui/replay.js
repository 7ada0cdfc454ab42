// How a miniature has drawn a picture: the previews that it sent, as a strip with a slider.
import { note } from "./menu.js";

export async function replay(button, run, job) {
  const answer = await fetch(`lineup/runs/${run}/jobs/${job}/replay`).catch(() => null);
  const steps = answer?.ok ? await answer.json() : [];
  const last = button.closest(".lu-card").querySelector(".lu-pics img").src;
  const title = `How ${button.closest(".lu-card").querySelector(".lu-name").textContent} drew it`;
  const text = `More in chapter “${button.dataset.chapter}” of notebooks/how_the_families_work.ipynb.`;
  if (!steps.length) {
    return note({ title, text: `Its steps are no longer in memory: press Run again, and replay the new picture. ${text}` });
  }
  const frames = [...steps, last];
  const view = document.createElement("div");
  view.className = "lu-replay";
  const large = document.createElement("img");
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 0, max: frames.length - 1, value: 0 });
  slider.setAttribute("aria-label", "Step");
  const strip = document.createElement("div");
  strip.className = "lu-replay-strip";
  strip.append(...frames.map((src, at) => {
    const each = document.createElement("button");
    each.type = "button";
    each.setAttribute("aria-label", `Step ${at + 1} of ${frames.length}`);
    const image = document.createElement("img");
    [image.src, image.alt] = [src, ""];
    each.append(image);
    each.addEventListener("click", () => { slider.value = at; show(); });
    return each;
  }));
  const show = () => {
    const at = Number(slider.value);
    large.src = frames[at];
    large.alt = `Step ${at + 1} of ${frames.length}`;
    slider.setAttribute("aria-valuetext", large.alt);
    [...strip.children].forEach((each, other) => { each.setAttribute("aria-pressed", other === at); });
  };
  slider.addEventListener("input", show);
  view.append(large, slider, strip);
  show();
  note({ title, text, content: view });
}
