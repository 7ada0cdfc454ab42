// The runs of this visit: a strip, newest first, each with its state; the page's title, a live
// region and, if the visitor wants it, a notification say how far they are. The list is kept for
// this browser tab. The board tells what it shows by "lineup:run"; the states of all runs under way
// are asked for here and told by "lineup:states".
const KEY = "lineup:visit";
const WISH = "lineup:notify";
const MOST = 40;
const EVERY = 1500; // milliseconds between two questions

const read = (storage, key) => { try { return JSON.parse(storage.getItem(key)); } catch { return null; } };
const write = (storage, key, value) => { try { storage.setItem(key, JSON.stringify(value)); } catch { /* private */ } };

// The runs of this visit, newest first.
export const visited = () => read(sessionStorage, KEY) ?? [];

export const progress = ({ running, total, ended, done }) => {
  if (!total) return "";
  if (running) return `${ended} of ${total} done`;
  return done === total ? `${done} of ${total} done` : `${done} done, ${total - done} not`;
};

export function mount({ element, trigger }) {
  const root = element.querySelector(".lu-visit");
  // The live region stays even where the strip is hidden.
  const status = root.querySelector("[role=status]");
  document.body.append(status);
  let runs = read(sessionStorage, KEY) ?? []; // { run, prompt, state, ended, total, done, picture }
  let shown = { run: "", others: [] };
  let asking = false;

  const find = (run) => runs.find((each) => each.run === run);
  const under = () => runs.filter((each) => each.state === "running");

  function remember(detail) {
    shown = detail;
    const { run, prompt, total, ended, done, running } = detail;
    if (run) {
      const entry = find(run) ?? { run };
      const before = entry.state;
      if (!find(run)) runs = [entry, ...runs].slice(0, MOST);
      const state = running ? "running" : done === total ? "done" : "failed";
      Object.assign(entry, { prompt, total, ended, done, state });
      entry.picture = document.querySelector(".lu-board .lu-pics img")?.getAttribute("src") ?? entry.picture;
      if (before === "running" && !running) notify(entry);
      write(sessionStorage, KEY, runs);
    }
    say();
    draw();
  }

  // Title and live region tell of what is shown.
  function say() {
    const words = progress(shown);
    document.title = words ? `${words} · Lineup` : "Lineup";
    if (status.textContent !== words) status.textContent = words;
    const running = !!shown.mine && (shown.running || shown.others.length > 0);
    document.querySelectorAll(".lu-ask").forEach((ask) => ask.classList.toggle("lu-running", running));
  }

  function draw() {
    const strip = root.querySelector(".lu-runs");
    strip.hidden = runs.length < 2;
    const buttons = runs.map((entry) => {
      const button = strip.querySelector(`[data-run="${CSS.escape(entry.run)}"]`) ?? made(entry);
      button.dataset.look = entry.state;
      button.title = entry.prompt;
      button.querySelector("span").textContent = entry.prompt;
      button.querySelector("small").textContent = entry.state === "running" ? `${entry.ended}/${entry.total}` : "";
      button.querySelector("em").textContent = { running: "under way", done: "done", failed: "ended, not all drawn" }[entry.state];
      const image = button.querySelector("img");
      if (entry.picture && image.getAttribute("src") !== entry.picture) image.src = entry.picture;
      image.hidden = !entry.picture;
      if (entry.run === shown.run) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      return button;
    });
    if (buttons.some((button, at) => strip.children[at] !== button) || strip.children.length !== buttons.length)
      strip.replaceChildren(...buttons);
    root.querySelector('[data-act="stop-all"]').hidden = under().length < 2;
    const able = "Notification" in window;
    const on = able && read(localStorage, WISH) === true && Notification.permission === "granted";
    document.querySelectorAll('[data-act="notify"]').forEach((bell) => {
      bell.hidden = !under().length || !able;
      bell.setAttribute("aria-pressed", on);
    });
    root.hidden = strip.hidden;
  }

  function made(entry) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.run = entry.run;
    button.innerHTML = '<img alt="" hidden><i class="lu-dot"></i><span dir="auto"></span><small></small><em class="lu-unseen"></em>';
    return button;
  }

  // The states of what is under way and not shown, which the board knows of itself.
  async function ask() {
    const ids = [...new Set([...under().map((each) => each.run), ...shown.others])]
      .filter((run) => run !== shown.run);
    if (!ids.length || asking) return;
    asking = true;
    const query = ids.slice(0, MOST).map((run) => `id=${encodeURIComponent(run)}`).join("&");
    const answer = await fetch(`lineup/runs?${query}`).catch(() => null);
    const states = answer?.ok ? await answer.json() : null;
    asking = false;
    if (!states) return;
    for (const entry of runs.filter((each) => each.run in states)) {
      const before = entry.state;
      Object.assign(entry, states[entry.run]);
      if (before === "running" && entry.state !== "running") notify(entry);
    }
    for (const run of ids.filter((id) => !(id in states))) if (find(run)) find(run).state = "failed";
    write(sessionStorage, KEY, runs);
    draw();
    document.dispatchEvent(new CustomEvent("lineup:states", { detail: states }));
  }

  function notify(entry) {
    if (!document.hidden || read(localStorage, WISH) !== true) return;
    if (!("Notification" in window) || Notification.permission !== "granted") return;
    const note = new Notification(`Lineup: ${progress(entry)}`, { body: entry.prompt, tag: entry.run });
    note.onclick = () => { window.focus(); trigger("open", { run: entry.run }); };
  }

  async function wish(button) {
    const on = read(localStorage, WISH) === true && Notification.permission === "granted";
    if (on) write(localStorage, WISH, false);
    else {
      const answer = await Notification.requestPermission();
      write(localStorage, WISH, answer === "granted");
      if (answer !== "granted") {
        button.title = "This browser blocks notifications of this page. Allow them in its settings.";
        status.textContent = button.title;
      }
    }
    draw();
  }

  root.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.run) return trigger("open", { run: button.dataset.run });
    if (button.dataset.act === "stop-all") return trigger("stopall", { runs: under().map((each) => each.run) });
  });
  document.addEventListener("click", (event) => {
    const bell = event.target.closest('[data-act="notify"]');
    if (bell) wish(bell);
  });
  document.addEventListener("lineup:run", ({ detail }) => remember(detail));
  setInterval(ask, EVERY);
  draw();
}
