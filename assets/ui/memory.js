// What the form held last, and named presets: kept in this browser, and in no run. Gradio calls
// `keep`, `recall`, `use` and `reset` with the names of the fields first; the last three return a
// value for each field.
const FORM = "lineup:form";
const PRESETS = "lineup:presets";
const SAME = { __type__: "update" }; // leaves a field as it is

let ready = false; // until the form is filled in, its changes are those of the page itself
let recalled = false;
let current = {};
let wanted = null; // the preset that was chosen

const stored = (key) => { try { return JSON.parse(localStorage.getItem(key)) ?? {}; } catch { return {}; } };
const store = (key, value) => { try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* private */ } };
const values = (names, from) => names.map((name) => (name in from ? from[name] : SAME));

export function keep(names, ...now) {
  current = Object.fromEntries(names.map((name, at) => [name, now[at]]));
  if (ready) store(FORM, current);
}

// A link to a run fills the form with that run.
export function recall(names) {
  ready = true;
  const from = new URLSearchParams(location.search).has("run") ? {} : stored(FORM);
  recalled = Object.keys(from).length > 0;
  return values(names, from);
}

// The estimate of the untouched page may come after the values that were recalled.
export function settled() {
  if (recalled) document.querySelector("button.lu-recount")?.click();
}

export const use = (names) => values(names, wanted ?? {});

export function reset(names, defaults) {
  store(FORM, {});
  return defaults;
}

export function mount({ element, trigger }) {
  const list = element.querySelector(".lu-preset-list"), name = element.querySelector("input");

  function button(words, act, key, label) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "lu-filter";
    made.textContent = words;
    made.dataset.act = act;
    made.dataset.key = key;
    if (label) made.setAttribute("aria-label", label);
    return made;
  }
  function draw() {
    const presets = Object.keys(stored(PRESETS)).sort();
    list.replaceChildren(...presets.map((key) => {
      const both = document.createElement("span");
      both.className = "lu-own";
      both.append(button(key, "use", key), button("×", "forget", key, `Forget the preset ${key}`));
      return both;
    }));
    element.querySelector(".lu-no-presets").hidden = presets.length > 0;
  }
  function save() {
    const key = name.value.trim().slice(0, 60);
    if (!key) return name.focus();
    store(PRESETS, { ...stored(PRESETS), [key]: current });
    name.value = "";
    draw();
  }

  element.addEventListener("click", (event) => {
    const { act, key } = event.target.closest("button")?.dataset ?? {};
    if (act === "save") save();
    if (act === "use") { wanted = stored(PRESETS)[key]; trigger("use"); }
    if (act === "forget") {
      const { [key]: gone, ...others } = stored(PRESETS);
      store(PRESETS, others);
      draw();
    }
    if (act === "reset") trigger("reset");
  });
  name.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) { event.preventDefault(); save(); }
  });
  draw();
}
