// The model picker: chips for the chosen models, and a panel with all of them: ready ones first, with
// filters and sets. `props.value` is the list of chosen ids and belongs to the person; `props.models`,
// `props.added` (ids that are typed, as far as the server has looked at them) and `props.costs` come
// from the server and change with the form.
import { openKeys } from "./keys.js";
import { choice } from "./options.js";

const SETS = "lineup:sets"; // named sets of models, kept in this browser
const LAST = "lineup:last"; // the models of the last run
const CHEAP = 0.01;
const STATES = ["ready", "downloads first", "needs a key", "not installed", "not available"];
const FOLDED = 78; // characters of a sentence that stand in one line

const stored = (key, other) => { try { return JSON.parse(localStorage.getItem(key)) ?? other; } catch { return other; } };
const store = (key, value) => { try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* private */ } };

const node = (tag, className, words) => {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = words ?? "";
  return made;
};
const button = (className, words, act) => {
  const made = node("button", className, words);
  made.type = "button";
  if (act) made.dataset.act = act;
  return made;
};

let lines = () => []; // of the mounted picker, for other modules
let choose = () => {};

// The service whose key a model lacks, null if it lacks none.
export function lacksKey(id) {
  const model = lines().find((each) => each.id === id);
  return model?.state === "needs a key" ? model.service : null;
}
// Add a model to the choice; returns whether it was new.
export const add = (id) => choose(id);
export const remember = (models) => { if (models?.length) store(LAST, models); };

export function mount({ element, props, trigger, watch }) {
  let open = false;
  let filter = "";
  const filters = new Set();

  const chosen = () => (Array.isArray(props.value) ? props.value : []);
  const cost = (id) => (props.costs ?? {})[id] ?? {};
  const listed = () => props.models ?? [];
  const added = () => props.added ?? [];
  const pending = (id) => ({ id, label: id.replace(/^local\//, ""), group: "added here", family: "", provider: "", state: "pending", sentence: "Lineup looks whether it can be used.", status: "live", takes: [] });
  const find = (id) => listed().find((model) => model.id === id) ?? added().find((model) => model.id === id) ?? pending(id);
  const gone = (model) => ["retired", "no public API"].includes(model.status);

  const FILTERS = [
    ["ready", "Ready", (model) => model.state === "ready"],
    ["free", "Free", (model) => cost(model.id).free === true],
    ["local", "On this machine", (model) => model.local],
    ["control", "Takes control", (model) => model.takes.includes("controls")],
    ["image", "Takes a start picture", (model) => model.takes.includes("image")],
    ["cheap", "At most $0.01", (model) => cost(model.id).high != null && cost(model.id).high <= CHEAP],
  ];

  lines = () => [...listed(), ...added()];
  choose = (id) => { const fresh = !chosen().includes(id); if (fresh) set([...chosen(), id]); return fresh; };

  function set(ids) {
    props.value = [...new Set(ids)];
    draw();
    trigger("change");
  }
  function toggle(id) {
    set(chosen().includes(id) ? chosen().filter((other) => other !== id) : [...chosen(), id]);
  }

  // Redraws without losing the focus: what had it has it again, or what took its place.
  function draw() {
    const root = element.querySelector(".lu-picker");
    if (!root) return;
    choice(chosen());
    const held = element.contains(document.activeElement) ? document.activeElement : null;
    const place = held?.closest(".lu-chips") ? [...root.querySelectorAll(".lu-chips button")].indexOf(held) : -1;
    const key = held?.dataset.id ? `${held.tagName}[data-id="${CSS.escape(held.dataset.id)}"]` : held?.dataset.act ? `[data-act="${held.dataset.act}"][data-name="${CSS.escape(held.dataset.name ?? "")}"]` : "";
    const chips = node("div", "lu-chips", "");
    chips.append(...chosen().map(find).map(chip));
    const more = button("lu-chip lu-more", open ? "close" : "+ models");
    more.setAttribute("aria-expanded", open);
    chips.append(more);
    root.querySelector(".lu-chips")?.remove();
    root.prepend(chips);
    const shown = root.querySelector(".lu-panel");
    if (!open) shown?.remove();
    else if (shown) fill(shown);
    else root.append(panel());
    if (!held || element.contains(document.activeElement)) return;
    const again = (key && element.querySelector(key)) || [...chips.children][Math.min(Math.max(place, 0), chips.children.length - 1)];
    again?.focus({ preventScroll: true });
  }

  function chip(model) {
    const made = button(`lu-chip lu-is-${model.state.replaceAll(" ", "-")}`, "");
    made.dataset.id = model.id;
    made.setAttribute("aria-pressed", "true");
    made.title = [model.sentence, "Click to leave it out."].filter(Boolean).join(" ");
    const note = model.state === "ready" || model.state === "unchecked" ? cost(model.id).text : model.state === "pending" ? "…" : model.state;
    made.append(node("i", "lu-dot", ""), node("span", "", model.label), node("em", "", note));
    return made;
  }

  function line(model) {
    const row = node("div", `lu-line lu-is-${model.state.replaceAll(" ", "-")}`, "");
    const label = node("label", "", "");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = chosen().includes(model.id);
    box.disabled = gone(model) && !box.checked;
    box.dataset.id = model.id;
    const words = node("span", "lu-what", "");
    const sentence = model.sentence || model.note;
    const told = node("small", "", sentence);
    words.append(node("b", "", model.label), told);
    label.append(box, node("i", "lu-dot", ""), words,
      node("em", "", model.status === "live" ? cost(model.id).text : model.status_words));
    row.append(label);
    if (sentence.length > FOLDED) {
      told.classList.add("lu-folded");
      const why = button("lu-why", "more", "why");
      why.dataset.name = model.id;
      why.setAttribute("aria-label", `All that is said of ${model.label}`);
      row.append(why);
    }
    if (model.state === "needs a key") {
      const keys = button("lu-why", "Open Keys", "keys");
      keys.dataset.service = model.service;
      keys.dataset.name = model.id;
      row.append(keys);
    }
    return row;
  }

  function panel() {
    const box = node("div", "lu-panel", "");
    const search = document.createElement("input");
    search.type = "search";
    search.setAttribute("aria-label", "Find a model");
    search.placeholder = props.adding ? "Find a model, or type your own: a Hub id, folder or file, huggingface/…, a1111/…, comfyui/…, openai@SERVER/…" : "Find a model";
    search.value = filter;
    search.addEventListener("input", () => { filter = search.value; fill(box); });
    box.append(search, node("div", "lu-filters", ""), node("div", "lu-groups", ""));
    fill(box);
    return box;
  }

  function fill(box) {
    const bar = box.querySelector(".lu-filters"), list = box.querySelector(".lu-groups");
    const at = list.scrollTop;
    const group = (label, ...parts) => { const made = node("div", "", ""); made.setAttribute("role", "group"); made.setAttribute("aria-label", label); made.append(...parts); return made; };
    bar.replaceChildren(
      group("Filters", ...FILTERS.map(([name, label]) => {
        const made = button("lu-filter", label, "filter");
        made.dataset.name = name;
        made.setAttribute("aria-pressed", filters.has(name));
        return made;
      })),
      group("Sets of models", node("span", "", "Choose"), ...sets().map(([name, label, , own]) => {
        const made = button("lu-filter", label, "set");
        made.dataset.name = name;
        if (!own) return made;
        const both = node("span", "lu-own", "");
        const drop = button("lu-filter", "×", "drop");
        drop.dataset.name = name;
        drop.setAttribute("aria-label", `Forget the set ${label}`);
        both.append(made, drop);
        return both;
      }), named("lu-filter", "Save as set …", "save"), named("lu-filter", "Clear all", "clear")));
    list.replaceChildren(...groups());
    list.scrollTop = at;
  }
  const named = (className, words, act) => { const made = button(className, words, act); made.dataset.name = ""; return made; };

  function sets() {
    const usable = listed().filter((model) => !gone(model));
    const last = stored(LAST, []);
    const found = [
      ["miniatures", "All miniatures", usable.filter((model) => model.id.startsWith("miniature/")).map((model) => model.id)],
      ["ready", "All ready", usable.filter((model) => model.state === "ready").map((model) => model.id)],
    ];
    if (last.length) found.push(["last", "Last used", last]);
    for (const [name, ids] of Object.entries(stored(SETS, {}))) found.push([`own:${name}`, name, ids, true]);
    return found;
  }

  function save() {
    const name = prompt("A name for these models:")?.trim().slice(0, 60);
    if (name) store(SETS, { ...stored(SETS, {}), [name]: chosen() });
    draw();
  }
  function drop(key) {
    const own = stored(SETS, {});
    delete own[key.slice("own:".length)];
    store(SETS, own);
    draw();
  }

  const words = (model) => `${model.label} ${model.id} ${model.family} ${model.provider}`.toLowerCase();
  const fits = (model) => words(model).includes(filter.trim().toLowerCase()) &&
    FILTERS.every(([name, , test]) => !filters.has(name) || test(model));
  const hits = () => [...listed(), ...added()].filter(fits);
  const rank = (model) => (gone(model) ? STATES.length : STATES.indexOf(model.state));

  function groups() {
    const shown = hits();
    if (!shown.length) return [node("p", "lu-none", nothing())];
    const best = new Map();
    shown.forEach((model) => best.set(model.group, Math.min(rank(model), best.get(model.group) ?? Infinity)));
    return [...best.keys()].sort((one, other) => best.get(one) - best.get(other)).map((group) => {
      const part = node("section", "", "");
      const members = shown.filter((model) => model.group === group);
      part.append(node("h3", "", group), ...members.sort((one, other) => rank(one) - rank(other)).map(line));
      return part;
    });
  }
  function nothing() {
    if (filters.size) return "No model fits all of these filters.";
    if (!props.adding || !filter.trim()) return "No such model.";
    return `No such model in the catalogue. Press Enter to add ${own(filter.trim())}.`;
  }

  // The id that a typed text stands for: with a backend's prefix as it is, else a diffusers model.
  function own(text) {
    const prefix = /^([\w-]+)(@[\w-]+)?\/./.exec(text);
    return prefix && (props.backends ?? []).includes(prefix[1]) ? text : `local/${text}`;
  }

  function enter(search) {
    const found = filter.trim() ? listed().filter((model) => fits(model) && !gone(model)) : [];
    if (found.length === 1) choose(found[0].id);
    else if (!found.length && props.adding && filter.trim()) {
      const id = own(filter.trim());
      search.value = filter = "";
      if (!choose(id)) draw();
    }
  }

  function close() {
    open = false;
    draw();
    element.querySelector(".lu-more")?.focus();
  }

  element.addEventListener("click", (event) => {
    const target = event.target.closest("button");
    if (!target) return;
    if (target.classList.contains("lu-more")) {
      open = !open;
      draw();
      if (open) element.querySelector("input[type=search]")?.focus();
      return;
    }
    const { act, name } = target.dataset;
    switch (act) {
      case "filter": filters[filters.has(name) ? "delete" : "add"](name); return draw();
      case "set": return set(sets().find(([key]) => key === name)?.[2] ?? chosen());
      case "save": return save();
      case "drop": return drop(name);
      case "clear": return set([]);
      case "keys": return openKeys(target.dataset.service);
      case "why": {
        const folded = target.closest(".lu-line").querySelector("small").classList.toggle("lu-folded");
        target.textContent = folded ? "more" : "less";
        return;
      }
      default: if (target.dataset.id) toggle(target.dataset.id);
    }
  });
  element.addEventListener("change", (event) => {
    if (event.target.matches("input[type=checkbox]")) { event.stopPropagation(); toggle(event.target.dataset.id); }
  });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && open) { event.preventDefault(); return close(); }
    const search = event.target.closest("input[type=search]");
    if (search && event.key === "Enter" && !event.ctrlKey && !event.metaKey) { event.preventDefault(); return enter(search); }
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || !event.target.closest(".lu-panel")) return;
    const stops = [element.querySelector("input[type=search]"), ...element.querySelectorAll(".lu-line input:not(:disabled)")];
    const at = stops.indexOf(event.target);
    if (at < 0) return;
    event.preventDefault();
    stops[Math.min(stops.length - 1, Math.max(0, at + by))].focus();
  });
  watch(["value", "models", "added", "costs"], draw);
  watch("models", () => document.dispatchEvent(new CustomEvent("lineup:models")));
  draw();
}
