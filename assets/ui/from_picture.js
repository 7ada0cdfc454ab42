// From a picture on: what the picture's menu asks of the form, and pictures that are dropped or pasted
// on the page. `props.found` is what the server has read in the one that was dropped last.
import { note } from "./menu.js";

const TAKES = ".lu-control, .lu-start, .lu-bring, .lu-card, [data-testid=file-upload]";

export function mount({ element, props, trigger, watch, upload }) {
  let last = "";

  document.addEventListener("lineup:from", ({ detail: { act, run, sha } }) => {
    if (act !== "others") return trigger(act, { run, sha });
    document.querySelector("button.lu-restore")?.click(); // fills the form with the run that is shown
    const more = document.querySelector(".lu-more");
    if (more?.getAttribute("aria-expanded") === "false") more.click();
    document.querySelector(".lu-ask")?.scrollIntoView({ block: "start" });
  });

  async function take(file) {
    if (!file?.type.startsWith("image/")) return;
    try {
      const { path } = await upload(file);
      trigger("dropped", { path });
    } catch {
      note({ title: "The picture could not be sent", text: "Is it larger than 50 MB, or is Lineup no longer running?" });
    }
  }

  watch("found", () => {
    const found = props.found ?? {};
    if (!found.path || found.path === last) return;
    last = found.path;
    const { path } = found;
    const settings = found.rows.length ? [["Use its settings", () => trigger("settings", { path })]] : [];
    const text = found.rows.length
      ? (found.left.length ? `The form does not take: ${found.left.join("; ")}.` : "")
      : "No settings stand in it that Lineup can read.";
    note({
      title: found.tool ? `A picture with settings (${found.tool})` : "A picture",
      rows: found.rows,
      text,
      buttons: [...settings, ["Start from it", () => trigger("start", { path })], ["Control with it", () => trigger("control", { path })]],
    });
  });

  // Where a part of the page takes pictures by itself, they are left to it.
  const free = (event) => !event.target.closest?.(TAKES) && [...(event.dataTransfer?.types ?? [])].includes("Files");
  let hint = null;
  const unhint = () => { hint?.remove(); hint = null; };
  document.addEventListener("dragover", (event) => {
    if (!free(event)) return unhint();
    event.preventDefault();
    if (hint) return;
    hint = document.createElement("div");
    hint.className = "lu-drop-here";
    hint.textContent = "Drop a picture: use its settings, start from it, or control with it";
    document.body.append(hint);
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) unhint(); });
  document.addEventListener("drop", (event) => {
    unhint();
    if (!free(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (!file || event.target.closest?.(TAKES)) return;
    event.preventDefault();
    take(file);
  });
}
