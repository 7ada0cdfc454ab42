// The menu of one picture: what to do with it next.
import { picture } from "./closely.js";

const WAIT = 2500; // milliseconds for which a button says how it went

let close = () => {};

// A small dialog with a title, rows of names and texts, a sentence and buttons [words, action].
export function note({ title, rows = [], text = "", buttons = [] }) {
  const dialog = document.createElement("dialog");
  dialog.className = "lu-note-box";
  const head = document.createElement("h2");
  head.textContent = title;
  const list = document.createElement("dl");
  rows.forEach(([name, value]) => {
    const [term, told] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, told.textContent] = [name, value];
    told.dir = "auto";
    list.append(term, told);
  });
  const more = document.createElement("p");
  more.textContent = text;
  const row = document.createElement("div");
  row.className = "lu-buttons";
  [...buttons, ["Close", () => {}]].forEach(([words, action]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.addEventListener("click", () => { dialog.close(); action(); });
    row.append(button);
  });
  dialog.setAttribute("aria-label", title);
  dialog.append(head, ...(rows.length ? [list] : []), ...(text ? [more] : []), row);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

async function copyPicture(src) {
  try {
    const png = fetch(src).then((answer) => answer.blob()).then(async (blob) => {
      if (blob.type === "image/png") return blob;
      const image = await createImageBitmap(blob);
      const canvas = new OffscreenCanvas(image.width, image.height);
      canvas.getContext("2d").drawImage(image, 0, 0);
      return canvas.convertToBlob({ type: "image/png" });
    });
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
    return true;
  } catch {
    return false;
  }
}

export function pictureMenu(opener, { run, job, mine, trigger }) {
  close();
  if (opener.getAttribute("aria-expanded") === "true") return;
  const figure = opener.closest("figure");
  const { sha } = figure.dataset;
  const src = figure.querySelector("a[data-act=full]").href;
  const tell = (act) => document.dispatchEvent(new CustomEvent("lineup:from", { detail: { act, run, sha } }));
  const say = (words) => {
    opener.title = words;
    document.querySelectorAll(".lu-status-line").forEach((each) => { each.textContent = words; });
    note({ title: words });
  };
  const items = [
    ["Start from this", () => tell("start")],
    ["Control with this", () => tell("control")],
    ["Same settings, other models", () => tell("others")],
    ...(mine ? [["New seed", () => trigger("seed", { run })], ["More of this model", () => trigger("more", { run, job })]] : []),
    ["Copy picture", async () => {
      const copied = await copyPicture(src);
      if (!copied) return say("Not copied: this browser does not let the page copy pictures. Download it instead.");
      const before = opener.textContent;
      opener.textContent = "✓";
      opener.setAttribute("aria-label", "Copied");
      setTimeout(() => { opener.textContent = before; }, WAIT);
    }],
    ["Show parameters", async () => {
      const entry = await picture(run, sha);
      note({ title: entry?.settings.Model ?? "Parameters", rows: Object.entries(entry?.settings ?? {}).filter(([name]) => name !== "Model") });
    }],
  ];
  const menu = document.createElement("div");
  menu.className = "lu-menu";
  menu.setAttribute("role", "menu");
  menu.append(...items.map(([words, action]) => {
    const item = document.createElement("button");
    item.type = "button";
    item.setAttribute("role", "menuitem");
    item.textContent = words;
    item.addEventListener("click", () => { close(true); action(); });
    return item;
  }));
  document.body.append(menu);
  const put = () => {
    const box = opener.getBoundingClientRect(), size = menu.getBoundingClientRect();
    menu.style.left = `${Math.max(8, Math.min(box.right - size.width, innerWidth - size.width - 8))}px`;
    menu.style.top = `${box.bottom + size.height + 8 > innerHeight ? Math.max(8, box.top - size.height - 4) : box.bottom + 4}px`;
  };
  put();
  opener.setAttribute("aria-expanded", "true");
  const outside = (event) => { if (!menu.contains(event.target) && event.target !== opener) close(); };
  close = (focus) => {
    close = () => {};
    menu.remove();
    opener.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    document.removeEventListener("scroll", put, true);
    if (focus) opener.focus({ preventScroll: true });
  };
  document.addEventListener("pointerdown", outside, true);
  document.addEventListener("scroll", put, true);
  const buttons = [...menu.children];
  menu.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") { event.preventDefault(); close(true); }
    if (to === undefined) return;
    event.preventDefault();
    buttons[(to + buttons.length) % buttons.length].focus();
  });
  buttons[0].focus({ preventScroll: true });
}
