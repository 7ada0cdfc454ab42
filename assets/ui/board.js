// The board of one run. The server sends whole cards and rows; this file puts them in place,
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
}
function tick() {
  element.querySelectorAll("[data-zero]").forEach((time) => {
    const seconds = (performance.now() - parseFloat(time.dataset.zero)) / 1000;
    time.textContent = seconds < 100 ? `${seconds.toFixed(1)} s…` : `${Math.round(seconds)} s…`;
  });
}

function least(cards, name) {
  const values = cards.map((card) => parseFloat(card.dataset[name])).filter((value) => !isNaN(value));
  return values.length > 1 ? Math.min(...values) : null;
}
function mark() {
  const cards = [...element.querySelectorAll(".lu-card")];
  const fastest = least(cards, "seconds"), cheapest = least(cards, "amount");
  cards.forEach((card) => {
    card.querySelector(".lu-num .lu-time")?.classList.toggle("lu-best", parseFloat(card.dataset.seconds) === fastest);
    card.querySelector(".lu-cost")?.classList.toggle("lu-best", parseFloat(card.dataset.amount) === cheapest);
  });
  const totals = [...element.querySelectorAll(".lu-total")];
  const longest = Math.max(...totals.map((cell) => parseFloat(cell.dataset.v) || 0), 0.001);
  totals.forEach((cell) => { cell.firstElementChild.style.width = `${72 * (parseFloat(cell.dataset.v) || 0) / longest}px`; });
  sort();
  const board = element.querySelector(".lu-board");
  const running = !!board && board.dataset.ended === "no";
  document.querySelectorAll(".lu-ask").forEach((ask) => ask.classList.toggle("lu-running", running));
}

function sort() {
  if (sorted.column === null) return;
  const body = element.querySelector(".lu-table tbody");
  const key = (row) => row.children[sorted.column].dataset.v;
  const compare = (a, b) => {
    if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === ""); // unknown stays last
    const numbers = [parseFloat(key(a)), parseFloat(key(b))];
    const order = numbers.some(isNaN) ? key(a).localeCompare(key(b)) : numbers[0] - numbers[1];
    return sorted.down ? -order : order;
  };
  body?.append(...[...body.children].sort(compare));
  element.querySelectorAll("th").forEach((head, index) => {
    const here = index === sorted.column;
    head.setAttribute("aria-sort", here ? (sorted.down ? "descending" : "ascending") : "none");
  });
}

function connect() {
  stream?.close();
  stream = null;
  const board = element.querySelector(".lu-board");
  if (!board) return mark();
  start(board);
  mark();
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
    case "again": return trigger("again", { run });
    case "link":
      navigator.clipboard?.writeText(location.href);
      target.textContent = "Copied";
      return setTimeout(() => { target.textContent = "Copy link"; }, 1500);
    case "sort": {
      const column = parseInt(target.dataset.column);
      sorted = { column, down: sorted.column === column && !sorted.down };
      return sort();
    }
  }
});

setInterval(tick, 100);
watch("value", connect);
connect();
