// The board of one run. The server sends whole cards and rows; this file puts them in place, ticks
// the stopwatches, marks the fastest and cheapest, and shows a picture large. What the board shows
// is told to the rest of the page by the event "lineup:run" on the document.
import { Arrangement } from "./arrange.js";
import { copy } from "./clipboard.js";
import { forget, lookClosely } from "./closely.js";
import { pictureMenu } from "./menu.js";
import { replay } from "./replay.js";
import { lacksKey } from "./picker.js";
import { visited } from "./visit.js";

const BAR = 72; // pixels of the longest bar in the table

const seconds = (time) => (time < 100 ? `${time.toFixed(1)} s…` : `${Math.round(time)} s…`);

export function mount({ element, trigger, watch }) {
  const byId = (id) => element.querySelector(`[id="${CSS.escape(id)}"]`);
  const arrangement = new Arrangement(element);
  let stream = null;

  // The pictures that were chosen to be looked at side by side.
  const picked = new Set();
  function pick(sha) {
    picked[picked.has(sha) ? "delete" : "add"](sha);
    showPicked();
  }
  function showPicked() {
    let count = 0;
    element.querySelectorAll("figure[data-sha]").forEach((figure) => {
      const on = picked.has(figure.dataset.sha);
      count += on;
      figure.querySelector(".lu-pick").setAttribute("aria-pressed", on);
    });
    const button = element.querySelector('[data-act="closely"]');
    if (button) button.textContent = count ? `Look closely at ${count}` : "Look closely";
  }
  function closely(shas) {
    const board = element.querySelector(".lu-board");
    if (board.dataset.ended === "no") forget(board.dataset.run);
    const here = new Set([...element.querySelectorAll("figure[data-sha]")].map((each) => each.dataset.sha));
    return lookClosely(board.dataset.run, shas.filter((sha) => here.has(sha)), visited());
  }

  function place(id, html, parent) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html.trim();
    const node = fresh.content.firstElementChild;
    const old = byId(id);
    start(node);
    if (!old) return element.querySelector(parent)?.append(node);
    const kept = old.querySelector("img.lu-preview");
    const next = node.querySelector("img.lu-preview");
    if (kept && next) { kept.src = next.src; next.replaceWith(kept); } // no flash between previews
    if (node.matches(".lu-card")) arrangement.inherit(old, node);
    const focused = old.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    old.replaceWith(node);
    if (focused) node.querySelector(`[data-act="${focused}"]`)?.focus({ preventScroll: true });
  }

  // Stopwatches run on this clock from the moment the server's elapsed seconds arrived.
  function start(node) {
    node.querySelectorAll("[data-elapsed]").forEach((time) => {
      time.dataset.zero = performance.now() - 1000 * parseFloat(time.dataset.elapsed);
    });
    node.querySelectorAll("[data-left]").forEach((left) => {
      left.dataset.end = performance.now() + 1000 * parseFloat(left.dataset.left);
    });
  }
  const passed = (time) => (performance.now() - parseFloat(time.dataset.zero)) / 1000;
  function tick() {
    const running = [...element.querySelectorAll("[data-zero]")];
    running.forEach((time) => { time.textContent = seconds(passed(time)); });
    element.querySelectorAll("[data-end]").forEach((left) => {
      const rest = Math.ceil((parseFloat(left.dataset.end) - performance.now()) / 1000);
      left.textContent = rest > 0 ? `about ${rest} s left` : "any moment now";
    });
    if (running.length) drawBars();
  }

  // Bars go by drawing, those of running jobs too; what cannot be compared has none.
  function drawBars() {
    const bars = [...element.querySelectorAll(".lu-bars > i")].map((bar) => {
      const cell = bar.parentElement, live = cell.querySelector("[data-zero]");
      return [bar, live ? passed(live) : parseFloat(cell.dataset.v) || 0];
    });
    const longest = Math.max(...bars.map(([, time]) => time), 0.001);
    bars.forEach(([bar, time]) => { bar.style.width = `${(BAR * time / longest).toFixed(1)}px`; });
  }

  function least(cards, name) {
    const values = cards.map((card) => parseFloat(card.dataset[name])).filter((value) => !isNaN(value));
    return values.length > 1 ? Math.min(...values) : null;
  }
  function mark() {
    const cards = [...element.querySelectorAll(".lu-card")];
    const tenth = (time) => parseFloat(time).toFixed(1); // as it is shown: equals are equal
    const fastest = tenth(least(cards, "drawing")), cheapest = least(cards, "amount");
    cards.forEach((card) => {
      card.querySelector(".lu-num .lu-time")?.classList.toggle("lu-best", fastest !== "NaN" && tenth(card.dataset.drawing) === fastest);
      card.querySelector(".lu-cost")?.classList.toggle("lu-best", parseFloat(card.dataset.amount) === cheapest);
    });
    // A card that failed for want of a key leads to where one can be typed.
    cards.forEach((card) => {
      const keys = card.querySelector('[data-act="keys"]');
      const service = keys && lacksKey(card.querySelector(".lu-name").title);
      if (!keys) return;
      keys.hidden = !service;
      keys.dataset.service = service ?? "";
    });
    showPicked();
    drawBars();
    arrangement.sortTable();
    tell();
  }

  // Tell the page what is shown and how far it is.
  function tell() {
    const board = element.querySelector(".lu-board");
    const cards = [...element.querySelectorAll(".lu-card")];
    const looks = cards.map((card) => card.dataset.look);
    const variants = [...element.querySelectorAll(".lu-strip [data-run]")];
    const ended = board?.dataset.ended === "yes", done = looks.filter((look) => look === "done").length;
    const current = variants.find((button) => button.hasAttribute("aria-current"));
    if (current && ended) current.dataset.look = done === looks.length ? "done" : "failed";
    const detail = {
      run: board?.dataset.run ?? "",
      prompt: board?.querySelector(".lu-run q").textContent ?? "",
      mine: board?.dataset.mine === "yes", // only who has started a run may stop it
      running: !!board && !ended,
      total: looks.length,
      ended: looks.filter((look) => look !== "running").length,
      done,
      // The other variants that are under way.
      others: variants.filter((each) => each !== current && each.dataset.look === "running")
        .map((each) => each.dataset.run),
    };
    document.dispatchEvent(new CustomEvent("lineup:run", { detail }));
  }

  function connect() {
    stream?.close();
    stream = null;
    const board = element.querySelector(".lu-board");
    if (!board) return mark();
    start(board);
    arrangement.shown();
    mark();
    const shown = board.querySelector(".lu-strip [aria-current]");
    if (shown) shown.parentElement.scrollLeft = shown.offsetLeft - (board.clientWidth - shown.offsetWidth) / 2;
    const here = new URL(location.href);
    if (here.searchParams.get("run") !== board.dataset.run) {
      here.searchParams.set("run", board.dataset.run);
      history.pushState(null, "", here);
    }
    if (board.dataset.ended === "yes") return;
    stream = new EventSource(`lineup/runs/${board.dataset.run}/events`);
    stream.addEventListener("job", (event) => {
      const job = JSON.parse(event.data);
      place(job.card_id, job.card, ".lu-grid");
      place(job.row_id, job.row, ".lu-table tbody");
      arrangement.shape();
      mark();
    });
    stream.addEventListener("end", () => {
      stream?.close();
      board.dataset.ended = "yes";
      forget(board.dataset.run);
      if (arrangement.sorted.key) arrangement.choose(arrangement.sorted.key, arrangement.sorted.down);
      mark();
    });
  }

  // Back and Forward go through the runs that were shown.
  addEventListener("popstate", () => {
    const run = new URLSearchParams(location.search).get("run") ?? "";
    if (run !== (element.querySelector(".lu-board")?.dataset.run ?? "")) trigger("variant", { run });
  });
  // How the other variants stand.
  document.addEventListener("lineup:states", ({ detail }) => {
    element.querySelectorAll(".lu-strip [data-run]").forEach((button) => {
      button.dataset.look = detail[button.dataset.run]?.state ?? button.dataset.look;
    });
    tell();
  });

  element.addEventListener("click", (event) => {
    const target = event.target.closest("[data-act]");
    if (!target) return;
    const run = element.querySelector(".lu-board")?.dataset.run;
    const job = target.closest(".lu-card")?.dataset.job;
    switch (target.dataset.act) {
      case "full": event.preventDefault(); return closely([target.closest("figure").dataset.sha]);
      case "closely": return closely([...picked]);
      case "pick": return pick(target.closest("figure").dataset.sha);
      case "retry": target.disabled = true; return trigger("retry", { run, job });
      case "stop": target.disabled = true; return trigger("halt", { run, job });
      case "variant": return trigger("variant", { run: target.dataset.run });
      case "again": return trigger("again", { run });
      case "replay": return replay(target, run, job);
      case "menu": return pictureMenu(target, { run, job, mine: target.closest(".lu-board").dataset.mine === "yes", trigger });
      case "link": return copy(location.href, target);
      case "copy": return copy(target.previousElementSibling.textContent, target);
    }
  });

  // A picture that a person brings: chosen as a file, dropped on the card, or pasted on it.
  async function bring(card, file) {
    const label = card?.querySelector(".lu-bring");
    if (!label || !file) return;
    const said = (words) => { label.firstChild.data = words; };
    said("Taking it …");
    const { run } = element.querySelector(".lu-board").dataset;
    const answer = await fetch(`lineup/runs/${run}/jobs/${card.dataset.job}/picture`, { method: "POST", body: file })
      .catch(() => null);
    if (!answer?.ok) said(answer ? await answer.text() : "Lineup does not answer. Is it still running?");
  }
  element.addEventListener("change", (event) => {
    if (event.target.matches("[data-bring]")) bring(event.target.closest(".lu-card"), event.target.files[0]);
  });
  element.addEventListener("keydown", (event) => {
    if (event.target.matches(".lu-bring") && event.key === "Enter") event.target.click();
  });
  ["dragover", "dragleave", "drop"].forEach((kind) => element.addEventListener(kind, (event) => {
    const card = event.target.closest(".lu-card");
    const label = card?.querySelector(".lu-bring");
    if (!label) return;
    event.preventDefault();
    label.classList.toggle("lu-over", kind === "dragover");
    if (kind === "drop") bring(card, event.dataTransfer.files[0]);
  }));

  document.addEventListener("lineup:models", mark); // a key may be there now

  setInterval(tick, 100);
  watch("value", connect);
  connect();
}

// After Compare on a screen too low for form and board, the first card comes into sight.
export function intoSight() {
  const board = document.querySelector(".lu-board");
  if (!board || document.querySelector(".lu-said .lu-bad")) return;
  if (board.getBoundingClientRect().top > innerHeight * 0.6) board.scrollIntoView({ block: "start" });
}
