// How the cards of a board stand: their density and order, which are hidden, and the shape of each
// row. Density is remembered in the browser, the rest for the run that is shown.
import { order } from "./table.js";

const DENSITY = "lineup:density";
const LEAST = 0.62; // no row is flatter or taller than this allows, whatever one picture's shape is
const MOST = 1.7;

const stored = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private */ } };

export class Arrangement {
  // `element` holds the board; `arranged` is called when the order or what is hidden has changed.
  constructor(element) {
    this.element = element;
    this.sorted = { key: "", down: false };
    this.places = new Map(); // by run: the ids of the cards as they were dragged
    this.hidden = new Map(); // by run: the ids of the cards that are hidden
    new ResizeObserver(() => this.shape()).observe(element);
    this.#listen();
  }

  get board() { return this.element.querySelector(".lu-board"); }
  get grid() { return this.element.querySelector(".lu-grid"); }
  get #run() { return this.board?.dataset.run ?? ""; }
  get #hiddenNow() {
    if (!this.hidden.has(this.#run)) this.hidden.set(this.#run, new Set());
    return this.hidden.get(this.#run);
  }

  // A new board: everything is put as it was.
  shown() {
    if (!this.board) return;
    this.dense(stored(DENSITY) ?? "medium");
    this.choose(this.sorted.key, this.sorted.down);
    this.hide();
  }

  dense(name) {
    this.board.dataset.density = name;
    this.board.querySelectorAll("[data-density][data-act]").forEach((button) => {
      button.setAttribute("aria-pressed", button.dataset.density === name);
    });
    this.shape(true);
  }

  // Order cards and table by a column of the table; "" is the order of the choice, or the dragged one.
  choose(key, down = false) {
    this.sorted = { key, down };
    const select = this.board.querySelector("select[data-act=order]");
    const known = [...select.options].some((option) => option.value === key);
    select.querySelector("[value=other]").hidden = known;
    select.value = known ? key : "other";
    this.sortTable();
    this.#sortCards();
    this.shape(true);
  }

  sortTable() {
    const table = this.element.querySelector(".lu-table");
    const column = table ? this.#column(table) : -1;
    if (column >= 0) order(table, { column, down: this.sorted.down });
    else table?.querySelectorAll("th").forEach((head) => head.removeAttribute("aria-sort"));
  }

  #column(table) {
    return [...table.querySelectorAll("th")].findIndex((head) => head.dataset.key === this.sorted.key);
  }

  #sortCards() {
    const table = this.element.querySelector(".lu-table");
    const column = this.#column(table);
    if (column >= 0) {
      const rows = [...table.querySelectorAll("tbody tr")].map((row) => row.id);
      const place = (unit) => Math.min(...this.#cards(unit).map((card) => rows.indexOf(card.dataset.row)));
      this.#put((unit) => place(unit));
    } else {
      const ids = this.places.get(this.#run) ?? this.#chosen();
      this.#put((unit) => { const at = ids.indexOf(this.#cards(unit)[0].id); return at < 0 ? ids.length : at; });
    }
  }

  // The order in which the server sent the cards.
  #chosen() {
    this.board.lineupChosen ??= this.units().map((unit) => this.#cards(unit)[0].id);
    return this.board.lineupChosen;
  }

  // What stands in the grid: cards, and chains of two cards.
  units() { return [...this.grid.children]; }
  #cards(unit) { return unit.matches(".lu-card") ? [unit] : [...unit.querySelectorAll(".lu-card")]; }

  #put(place) {
    const units = this.units();
    const sorted = [...units].sort((one, other) => place(one) - place(other));
    if (sorted.some((unit, at) => unit !== units[at])) this.grid.append(...sorted);
  }

  hide(unit, hidden) {
    const now = this.#hiddenNow;
    if (unit) now[hidden ? "add" : "delete"](this.#cards(unit)[0].id);
    this.units().forEach((each) => { each.hidden = now.has(this.#cards(each)[0].id); });
    const button = this.board.querySelector('[data-act="unhide"]');
    const count = this.units().filter((each) => each.hidden).length;
    button.hidden = count === 0;
    button.textContent = `Show ${count} hidden`;
    this.shape(true);
  }
  unhide() { this.#hiddenNow.clear(); this.hide(); }

  // Move a unit before another one, or to the end. The dragged order becomes the chosen one.
  move(unit, before) {
    if (unit === before) return;
    this.#chosen();
    this.grid.insertBefore(unit, before ?? null);
    this.places.set(this.#run, this.units().map((each) => this.#cards(each)[0].id));
    this.sorted = { key: "", down: false };
    this.board.querySelector("select[data-act=order]").value = "";
    this.sortTable();
    this.shape(true);
  }

  // One shape for the pictures of a row, between the flattest and the tallest of them. While a run
  // goes on it stays as it was expected at first, so that nothing jumps.
  shape(fresh = false) {
    if (!this.grid || !this.element.clientWidth) return;
    const running = this.board.dataset.ended === "no";
    const rows = new Map();
    for (const unit of this.units()) {
      if (unit.hidden) continue;
      const top = Math.round(unit.offsetTop);
      if (!rows.has(top)) rows.set(top, []);
      rows.get(top).push(...this.#cards(unit));
    }
    for (const cards of rows.values()) {
      const pictures = cards.map((card) => card.querySelector(".lu-pic"));
      if (running && !fresh && pictures.every((each) => each.style.getPropertyValue("--row"))) continue;
      const shapes = pictures.filter((each) => !each.querySelector(".lu-say"))
        .map((each) => parseFloat(each.dataset.shape)).filter((shape) => shape > 0);
      const middle = shapes.length ? Math.sqrt(Math.min(...shapes) * Math.max(...shapes)) : MOST;
      const shape = Math.min(MOST, Math.max(LEAST, middle)).toFixed(3);
      pictures.forEach((each) => each.style.setProperty("--row", shape));
    }
  }

  // A card that takes another's place keeps the shape of its row.
  inherit(from, to) {
    const shape = from?.querySelector(".lu-pic")?.style.getPropertyValue("--row");
    if (shape) to.querySelector(".lu-pic").style.setProperty("--row", shape);
    to.hidden = from?.hidden ?? false;
  }

  #listen() {
    const unitOf = (node) => node?.closest(".lu-grid > *");
    this.element.addEventListener("change", (event) => {
      if (event.target.matches("select[data-act=order]") && event.target.value !== "other")
        this.choose(event.target.value);
    });
    this.element.addEventListener("click", (event) => {
      const target = event.target.closest("[data-act]");
      switch (target?.dataset.act) {
        case "density": store(DENSITY, target.dataset.density); return this.dense(target.dataset.density);
        case "hide": return this.hide(unitOf(target), true);
        case "unhide": return this.unhide();
        case "sort": {
          const { key } = target.closest("th").dataset;
          return this.choose(key, this.sorted.key === key && !this.sorted.down);
        }
      }
    });
    this.element.addEventListener("keydown", (event) => {
      const handle = event.target.closest('[data-act="move"]');
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (!handle || !by) return;
      event.preventDefault();
      const unit = unitOf(handle), units = this.units().filter((each) => !each.hidden);
      const at = units.indexOf(unit) + by;
      if (at < 0 || at >= units.length) return;
      this.move(unit, by < 0 ? units[at] : units[at].nextElementSibling);
      handle.focus();
    });
    this.element.addEventListener("pointerdown", (event) => {
      const handle = event.target.closest('[data-act="move"]');
      if (!handle || event.button !== 0) return;
      const unit = unitOf(handle);
      // The document listens: the handle loses its capture when its card is moved in the page.
      event.preventDefault();
      handle.focus({ preventScroll: true });
      unit.classList.add("lu-dragged");
      const drag = (moved) => {
        const under = unitOf(document.elementsFromPoint(moved.clientX, moved.clientY)
          .find((node) => unitOf(node) && unitOf(node) !== unit && this.grid.contains(node)));
        if (!under) return;
        const box = under.getBoundingClientRect();
        const units = this.units();
        const after = units.indexOf(under) > units.indexOf(unit);
        const beyond = after ? moved.clientX > box.left + box.width / 3 : moved.clientX < box.right - box.width / 3;
        if (beyond || box.width > this.grid.clientWidth * 0.6)
          this.move(unit, after ? under.nextElementSibling : under);
      };
      const end = () => {
        unit.classList.remove("lu-dragged");
        ["pointerup", "pointercancel"].forEach((kind) => document.removeEventListener(kind, end));
        document.removeEventListener("pointermove", drag);
      };
      document.addEventListener("pointermove", drag);
      ["pointerup", "pointercancel"].forEach((kind) => document.addEventListener(kind, end));
    });
  }
}
