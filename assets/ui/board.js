// The board of one run. The server sends whole cards and rows; this file puts them in place,
import { order } from "./table.js";

export function mount({ element, trigger, watch }) {
  // ticks the stopwatches, sorts the table, marks the fastest and cheapest, and shows a picture large.
  // Gradio calls it with `element`, `trigger` and `watch` (see gr.HTML, js_on_load).
  const byId = (id) => element.querySelector(`[id="${CSS.escape(id)}"]`);
  let stream = null;
  let sorted = { column: null, down: false };

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
    old.replaceWith(node);
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
  const since = (time) => (performance.now() - parseFloat(time.dataset.zero)) / 1000;
  function tick() {
    const times = element.querySelectorAll("[data-zero]");
    if (!times.length) return;
    times.forEach((time) => {
      const seconds = since(time);
      time.textContent = seconds < 100 ? `${seconds.toFixed(1)} s…` : `${Math.round(seconds)} s…`;
    });
    element.querySelectorAll("[data-end]").forEach((left) => {
      const seconds = Math.ceil((parseFloat(left.dataset.end) - performance.now()) / 1000);
      left.textContent = seconds > 0 ? `about ${seconds} s left` : "any moment now";
    });
    bars();
  }

  // The bars of the table grow with the drawing, scaled to the longest.
  function bars() {
    const drawn = [...element.querySelectorAll('td[data-column="drawing"] > i')].map((bar) => {
      const time = bar.parentElement.querySelector("[data-zero]");
      return [bar, time ? since(time) : parseFloat(bar.parentElement.dataset.v) || 0];
    });
    const longest = Math.max(...drawn.map(([, seconds]) => seconds), 0.001);
    drawn.forEach(([bar, seconds]) => { bar.style.width = `${72 * seconds / longest}px`; });
  }

  function least(cards, name) {
    const values = cards.map((card) => parseFloat(card.dataset[name])).filter((value) => !isNaN(value));
    return values.length > 1 ? Math.min(...values) : null;
  }
  function mark() {
    const cards = [...element.querySelectorAll(".lu-card")];
    const tenth = (seconds) => parseFloat(seconds).toFixed(1); // as it is shown: equals are equal
    const fastest = tenth(least(cards, "seconds")), cheapest = least(cards, "amount");
    cards.forEach((card) => {
      card.querySelector(".lu-num .lu-time")?.classList.toggle("lu-best", tenth(card.dataset.seconds) === fastest && fastest !== "NaN");
      card.querySelector(".lu-cost")?.classList.toggle("lu-best", parseFloat(card.dataset.amount) === cheapest);
    });
    bars();
    sort();
    const board = element.querySelector(".lu-board");
    const others = element.querySelector('.lu-strip [data-look="running"]:not([aria-current])');
    const mine = board?.dataset.mine === "yes"; // only who has started a run may stop it
    const running = mine && (board.dataset.ended === "no" || !!others);
    document.querySelectorAll(".lu-ask").forEach((ask) => ask.classList.toggle("lu-running", running));
  }

  function sort() {
    const table = element.querySelector(".lu-table");
    if (table && sorted.column !== null) order(table, sorted);
  }

  function connect() {
    stream?.close();
    stream = null;
    const board = element.querySelector(".lu-board");
    if (!board) return mark();
    start(board);
    mark();
    const shown = board.querySelector(".lu-strip [aria-current]");
    if (shown) shown.parentElement.scrollLeft = shown.offsetLeft - (board.clientWidth - shown.offsetWidth) / 2;
    const here = new URL(location.href);
    if (here.searchParams.get("run") !== board.dataset.run) {
      here.searchParams.set("run", board.dataset.run);
      history.replaceState(null, "", here);
    }
    if (board.dataset.ended === "yes") return;
    stream = new EventSource(`lineup/runs/${board.dataset.run}/events`);
    stream.addEventListener("job", (event) => {
      const job = JSON.parse(event.data);
      place(job.card_id, job.card, ".lu-grid");
      place(job.row_id, job.row, ".lu-table tbody");
      mark();
    });
    stream.addEventListener("end", () => {
      stream?.close();
      board.dataset.ended = "yes";
      mark();
    });
  }

  // How the other variants stand: asked now and then, as long as one of them is under way.
  async function look() {
    const strip = element.querySelector(".lu-strip");
    if (!strip?.querySelector('[data-look="running"]')) return;
    const { run } = element.querySelector(".lu-board").dataset;
    const answer = await fetch(`lineup/runs/${run}/batch`).catch(() => null);
    const looks = answer?.ok ? await answer.json() : {};
    strip.querySelectorAll("button").forEach((button) => {
      button.dataset.look = looks[button.dataset.run] ?? button.dataset.look;
    });
    mark();
  }
  setInterval(look, 1500);

  function copy(text, button) {
    const before = button.textContent;
    navigator.clipboard?.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  }

  // Full size: one dialog, arrows go through all pictures of the run.
  function full(link) {
    const links = [...element.querySelectorAll('[data-act="full"]')];
    let at = links.indexOf(link);
    const dialog = document.createElement("dialog");
    dialog.className = "lu-dialog";
    const show = () => {
      const image = links[at].querySelector("img");
      dialog.innerHTML = `<figure><img alt=""><figcaption><span></span><a download>Download</a>
        <button type="button" data-go="-1" aria-label="Previous">←</button>
        <button type="button" data-go="1" aria-label="Next">→</button>
        <button type="button" data-go="0" aria-label="Close">Close</button></figcaption></figure>`;
      const large = dialog.querySelector("img");
      large.src = links[at].href;
      large.alt = image.alt;
      const card = links[at].closest(".lu-card");
      dialog.querySelector("span").textContent =
        `${card.querySelector(".lu-name").textContent} · ${image.getAttribute("width")}×${image.getAttribute("height")}`;
      dialog.querySelector("a").href = links[at].href;
      dialog.querySelector("a").download = links[at].dataset.name;
    };
    const go = (by) => {
      if (by === 0) return dialog.close();
      at = (at + by + links.length) % links.length;
      show();
    };
    dialog.addEventListener("click", (event) => {
      const button = event.target.closest("[data-go]");
      if (button) go(parseInt(button.dataset.go));
      else if (!event.target.closest("figcaption, img")) dialog.close();
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") go(1);
      if (event.key === "ArrowLeft") go(-1);
    });
    dialog.addEventListener("close", () => dialog.remove());
    show();
    document.body.append(dialog);
    dialog.showModal();
  }

  element.addEventListener("click", (event) => {
    const target = event.target.closest("[data-act]");
    if (!target) return;
    const run = element.querySelector(".lu-board")?.dataset.run;
    const job = target.closest(".lu-card")?.dataset.job;
    switch (target.dataset.act) {
      case "full": event.preventDefault(); return full(target);
      case "retry": target.disabled = true; return trigger("retry", { run, job });
      case "stop": target.disabled = true; return trigger("halt", { run, job });
      case "variant": return trigger("variant", { run: target.dataset.run });
      case "again": return trigger("again", { run });
      case "link": return copy(location.href, target);
      case "copy": return copy(target.previousElementSibling.textContent, target);
      case "sort": {
        const column = parseInt(target.dataset.column);
        sorted = { column, down: sorted.column === column && !sorted.down };
        return sort();
      }
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

  setInterval(tick, 100);
  watch("value", connect);
  connect();
}
