// Looking closely: a dialog with any number of pictures, of this run and of others of the visit, side
// by side under one camera; two of them as a wipe, as a flip or as their difference.
// The camera is relative to each picture (its middle from 0 to 1, and a zoom on top of "fit", "1:1" or
// "width"), so that pictures of different sizes stay aligned.
const MODES = { side: "Side by side", wipe: "Wipe", flip: "Flip", difference: "Difference" };
const MOST = 16; // panes at once
const [NEAR, FAR] = [64, 0.1]; // the limits of the zoom

const lists = new Map(); // the pictures of each run, by its id

async function pictures(run) {
  if (!lists.has(run)) {
    const answer = await fetch(`lineup/runs/${encodeURIComponent(run)}/pictures`).catch(() => null);
    if (!answer?.ok) return [];
    lists.set(run, await answer.json());
  }
  return lists.get(run);
}
export const forget = (run) => lists.delete(run); // a run that goes on has more pictures each time
export const picture = async (run, sha) => (await pictures(run)).find((each) => each.sha === sha);

const make = (tag, className, words = "") => {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = words;
  return made;
};
const button = (words, act, label, key) => {
  const made = make("button", "", words);
  made.type = "button";
  made.dataset.act = act;
  if (label) made.setAttribute("aria-label", label);
  if (label || key) made.title = [label ?? words, key && `(${key})`].filter(Boolean).join(" ");
  return made;
};

// Open the dialog with the pictures of `run` whose hashes are `shas`, or with all if there are none.
export async function lookClosely(run, shas, others = []) {
  let all = await pictures(run);
  if (!all.length) return;
  let panes = (shas.length ? shas.map((sha) => all.find((each) => each.sha === sha)).filter(Boolean) : all).slice(0, MOST);
  if (!panes.length) panes = [all[0]];
  let active = 0, mode = "side", flipped = false, wipe = 0.5;
  const camera = { base: "fit", zoom: 1, x: 0.5, y: 0.5 };
  const before = document.activeElement;

  const dialog = make("dialog", "lu-dialog");
  dialog.setAttribute("aria-label", "Looking closely");
  const bar = make("div", "lu-close-bar"), stage = make("div", "lu-stage"), strip = make("div", "lu-thumbs");
  const differences = make("div", "lu-differences");
  dialog.append(bar, stage, differences, strip);

  const shown = (at) => stage.querySelectorAll(".lu-pane")[mode === "side" ? at : 0];
  function scale(entry, box) {
    const base = { fit: Math.min(box.width / entry.width, box.height / entry.height), width: box.width / entry.width, pixel: 1 / devicePixelRatio }[camera.base];
    return base * camera.zoom;
  }
  function aim() {
    stage.querySelectorAll("img").forEach((image) => {
      const entry = panes[Number(image.dataset.at)], box = image.parentElement.getBoundingClientRect();
      const size = scale(entry, box);
      image.style.transform = `translate(${box.width / 2 - camera.x * entry.width * size}px, ${box.height / 2 - camera.y * entry.height * size}px) scale(${size})`;
      image.style.imageRendering = size >= 2 ? "pixelated" : "auto";
    });
    const first = stage.querySelector("img"), box = first?.parentElement.getBoundingClientRect();
    const percent = first ? Math.round(100 * scale(panes[Number(first.dataset.at)], box) * devicePixelRatio) : 100;
    bar.querySelector("output").textContent = `${percent} %`;
  }
  function zoom(by, point, pane = shown(active)) {
    const box = pane.getBoundingClientRect(), entry = panes[Number(pane.dataset.at)];
    const [dx, dy] = point ? [point.x - box.left - box.width / 2, point.y - box.top - box.height / 2] : [0, 0];
    const old = scale(entry, box);
    const next = Math.min(NEAR, Math.max(FAR, camera.zoom * by));
    camera.zoom = next;
    const now = scale(entry, box);
    camera.x += dx / entry.width * (1 / old - 1 / now);
    camera.y += dy / entry.height * (1 / old - 1 / now);
    aim();
  }
  function pan(dx, dy, pane) {
    const box = pane.getBoundingClientRect(), entry = panes[Number(pane.dataset.at)], size = scale(entry, box);
    camera.x = Math.min(1.5, Math.max(-0.5, camera.x - dx / (entry.width * size)));
    camera.y = Math.min(1.5, Math.max(-0.5, camera.y - dy / (entry.height * size)));
    aim();
  }
  function reset(base) { Object.assign(camera, { base, zoom: 1, x: 0.5, y: 0.5 }); aim(); }

  function drawBar() {
    bar.replaceChildren(make("strong", "", panes.length === 1 ? "1 picture" : `${panes.length} pictures`),
      button("Fit", "fit", null, "F"), button("1:1", "pixel", "One picture pixel on one screen pixel", "1"), button("Width", "width", "As wide as its pane", "W"),
      button("−", "out", "Zoom out", "-"), document.createElement("output"), button("+", "in", "Zoom in", "+"));
    const modes = make("span", "lu-modes");
    modes.setAttribute("role", "group");
    modes.setAttribute("aria-label", "How two pictures are shown");
    for (const [name, label] of Object.entries(MODES)) {
      const each = button(label, `mode-${name}`);
      each.disabled = name !== "side" && panes.length !== 2;
      each.setAttribute("aria-pressed", mode === name);
      modes.append(each);
    }
    bar.append(modes);
    const link = make("a", "", "Download");
    link.href = panes[active].src;
    link.download = panes[active].name;
    const close = button("Close", "close", null, "Esc");
    bar.append(button("←", "previous", "Previous picture", "←"), button("→", "next", "Next picture", "→"), link, close);
  }
  function image(at) {
    const made = document.createElement("img");
    made.src = panes[at].src;
    made.dataset.at = at;
    made.alt = `${panes[at].settings.Model}: ${panes[at].settings.Prompt ?? ""}`;
    made.draggable = false;
    made.width = panes[at].width;
    made.height = panes[at].height;
    return made;
  }
  function caption(at) {
    const made = make("figcaption", "");
    const { settings } = panes[at];
    const words = make("span", "");
    made.append(words);
    words.append(make("b", "", settings.Model), " ", make("span", "", [settings.Size.replaceAll(" ", ""), settings.Seed && `seed ${settings.Seed}`, settings.Drawing && `${settings.Drawing} drawing`, settings.Cost].filter(Boolean).join(" · ")));
    if (panes.length > 1) { const drop = button("×", "drop", `Take ${settings.Model} away`); drop.dataset.at = at; made.append(drop); }
    return made;
  }
  function drawStage() {
    if (panes.length !== 2) mode = "side";
    active = Math.min(active, panes.length - 1);
    stage.dataset.mode = mode;
    const count = mode === "side" ? panes.length : 1;
    const columns = innerWidth < 700 ? Math.min(2, count) : Math.ceil(Math.sqrt(count * (innerWidth > innerHeight * 1.2 ? 1.6 : 1)));
    stage.style.setProperty("--columns", Math.max(1, Math.min(count, columns)));
    const figure = (at, ...also) => {
      const made = make("figure", "");
      const pane = make("div", "lu-pane");
      pane.dataset.at = at;
      pane.tabIndex = 0;
      pane.setAttribute("role", "group");
      pane.setAttribute("aria-label", panes[at].settings.Model);
      pane.append(image(at), ...also.map((other) => {
        const over = make("div", "lu-over");
        over.append(image(other));
        return over;
      }));
      made.append(pane, caption(at), ...also.map(caption));
      return made;
    };
    stage.replaceChildren(...(mode === "side" ? panes.map((_, at) => figure(at)) : [figure(0, 1)]));
    if (mode === "wipe") {
      const slider = document.createElement("input");
      Object.assign(slider, { type: "range", min: 0, max: 100, value: 100 * wipe, className: "lu-wipe" });
      slider.setAttribute("aria-label", "Wipe: how much of the first picture is shown");
      slider.addEventListener("input", () => { wipe = slider.value / 100; overlay(); });
      stage.append(slider);
    }
    const [one, two] = panes;
    if (mode === "difference" && (one.width !== two.width || one.height !== two.height))
      stage.append(make("p", "lu-note", `The sizes differ (${one.settings.Size} and ${two.settings.Size}): each is fitted to the pane.`));
    overlay();
    drawBar();
    drawDifferences();
    drawStrip();
    aim();
  }
  function overlay() {
    const pane = stage.querySelector(".lu-pane");
    if (mode === "side") return;
    const [one, two] = pane.querySelectorAll("img");
    pane.style.setProperty("--wipe", `${100 * wipe}%`);
    one.hidden = mode === "flip" && flipped;
    two.hidden = mode === "flip" && !flipped;
    [...stage.querySelectorAll("figcaption")].forEach((each, at) => {
      each.classList.toggle("lu-unseen", mode === "flip" && at !== Number(flipped));
    });
  }
  function drawDifferences() {
    const names = [...new Set(panes.flatMap((each) => Object.keys(each.settings)))];
    const differing = names.filter((name) => new Set(panes.map((each) => each.settings[name] ?? "–")).size > 1);
    if (panes.length < 2) return differences.replaceChildren();
    const table = document.createElement("table");
    const row = (tag, cells) => {
      const made = document.createElement("tr");
      cells.forEach((words, at) => made.append(make(at ? tag : "th", "", words)));
      return made;
    };
    differing.forEach((name) => table.append(row("td", [name, ...panes.map((each) => each.settings[name] ?? "–")])));
    const fold = make("details", "");
    fold.open = dialog.dataset.differences === "open";
    fold.addEventListener("toggle", () => { dialog.dataset.differences = fold.open ? "open" : ""; aim(); });
    fold.append(make("summary", "", `What differs: ${differing.join(", ").toLowerCase() || "nothing that was set"}`), table);
    differences.replaceChildren(fold);
  }
  function drawStrip() {
    const held = strip.contains(document.activeElement) ? document.activeElement.dataset.sha : null;
    strip.replaceChildren(...all.map((entry) => {
      const made = button("", "pick", `${entry.settings.Model}${entry.settings.Seed ? `, seed ${entry.settings.Seed}` : ""}`);
      made.dataset.sha = entry.sha;
      made.setAttribute("aria-pressed", panes.includes(entry));
      const thumb = document.createElement("img");
      thumb.src = entry.src;
      thumb.alt = "";
      thumb.loading = "lazy";
      made.append(thumb);
      return made;
    }));
    const more = others.filter((other) => other.run !== run && !all.some((entry) => entry.run === other.run));
    if (more.length) {
      const select = document.createElement("select");
      select.setAttribute("aria-label", "Add the pictures of another run");
      select.append(new Option("Add another run …", ""), ...more.map((other) => new Option(other.prompt.slice(0, 60), other.run)));
      select.addEventListener("change", async () => { all = [...all, ...await pictures(select.value)]; drawStrip(); });
      strip.append(select);
    }
    if (held) strip.querySelector(`[data-sha="${held}"]`)?.focus();
  }
  function pick(entry) {
    if (!panes.includes(entry)) { if (panes.length < MOST) { panes = [...panes, entry]; active = panes.length - 1; } }
    else if (panes.length > 1) panes = panes.filter((each) => each !== entry);
    drawStage();
  }
  function step(by) {
    const at = (all.indexOf(panes[active]) + by + all.length) % all.length;
    panes = panes.map((each, index) => (index === active ? all[at] : each));
    drawStage();
  }
  const acts = {
    fit: () => reset("fit"), pixel: () => reset("pixel"), width: () => reset("width"),
    in: () => zoom(1.25), out: () => zoom(0.8), previous: () => step(-1), next: () => step(1), close: () => dialog.close(),
    "mode-side": () => { mode = "side"; drawStage(); }, "mode-wipe": () => { mode = "wipe"; drawStage(); },
    "mode-difference": () => { mode = "difference"; drawStage(); },
    "mode-flip": () => { flipped = mode === "flip" ? !flipped : true; mode = "flip"; drawStage(); },
  };
  dialog.addEventListener("click", (event) => {
    const target = event.target.closest("button");
    const act = target?.dataset.act;
    if (act === "pick") return pick(all.find((entry) => entry.sha === target.dataset.sha));
    if (act === "drop") { panes = panes.filter((_, at) => at !== Number(target.dataset.at)); return drawStage(); }
    const refocus = target && bar.contains(target);
    acts[act]?.();
    if (refocus && act !== "close") bar.querySelector(`[data-act="${act}"]`)?.focus();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=range], select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { ArrowLeft: "previous", ArrowRight: "next", "+": "in", "=": "in", "-": "out", 0: "fit", f: "fit", 1: "pixel", w: "width", x: panes.length === 2 ? "mode-flip" : null }[event.key];
    if (!act) return;
    event.preventDefault();
    acts[act]();
  });
  const pointers = new Map();
  const spread = () => { const [one, two] = [...pointers.values()]; return Math.hypot(one.x - two.x, one.y - two.y) || 1; };
  stage.addEventListener("wheel", (event) => {
    const pane = event.target.closest(".lu-pane");
    if (!pane) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * 0.002), { x: event.clientX, y: event.clientY }, pane);
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    const pane = event.target.closest(".lu-pane");
    if (!pane) return;
    active = mode === "side" ? Number(pane.dataset.at) : active;
    pane.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  stage.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId), pane = event.target.closest(".lu-pane");
    if (!last || !pane) return;
    const width = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 2) zoom(spread() / width, { x: event.clientX, y: event.clientY }, pane);
    else pan(event.clientX - last.x, event.clientY - last.y, pane);
  });
  ["pointerup", "pointercancel"].forEach((kind) => stage.addEventListener(kind, (event) => pointers.delete(event.pointerId)));
  stage.addEventListener("focusin", (event) => {
    const pane = event.target.closest(".lu-pane");
    if (pane && mode === "side") active = Number(pane.dataset.at);
  });
  const resized = new ResizeObserver(aim);
  resized.observe(stage);
  dialog.addEventListener("close", () => {
    resized.disconnect();
    dialog.remove();
    (before?.isConnected ? before : document.querySelector('[data-act="closely"]'))?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  drawStage();
  bar.querySelector("button").focus();
}
