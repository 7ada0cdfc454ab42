// The options of the chosen models' backends: only those groups are shown. Opening the panel asks the
// backends for the values that they know (LoRAs, samplers, ControlNets, ...), which are then offered
// below their fields; a list of LoRAs has a weight for each.
const MOST = 60; // names that are offered for one field

let chosen = [], secondModel = "", draw = () => {};
const backendOf = (id) => id.split("/")[0].split("@")[0];

export function choice(ids) { chosen = ids; draw(); }
export function second(id) { secondModel = id ?? ""; draw(); }

// Put a text into a field as if it had been typed.
function type(field, text) {
  const kind = field.tagName === "TEXTAREA" ? HTMLTextAreaElement : HTMLInputElement;
  Object.getOwnPropertyDescriptor(kind.prototype, "value").set.call(field, text);
  field.dispatchEvent(new Event("input", { bubbles: true }));
}
const parse = (text) => text.split(",").map((part) => part.trim()).filter(Boolean).map((part) => {
  const at = part.lastIndexOf(":");
  const weight = at > 0 ? parseFloat(part.slice(at + 1)) : NaN;
  return Number.isNaN(weight) ? { name: part, weight: 1 } : { name: part.slice(0, at), weight };
});
const write = (entries) => entries.map(({ name, weight }) => `${name}:${weight}`).join(", ");

function offer(group, option, names) {
  const block = group.querySelector(`.lu-option-${option}`), field = block?.querySelector("textarea, input");
  if (!field || block.querySelector(".lu-known")) return;
  const box = document.createElement("div");
  box.className = "lu-known";
  const weighed = option === "loras", several = weighed || option === "embeddings";
  const rows = document.createElement("div");
  const list = document.createElement("div");
  const made = (words, action) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "lu-filter";
    button.textContent = words;
    button.addEventListener("click", action);
    return button;
  };
  function weights() {
    if (!weighed) return;
    const entries = parse(field.value);
    rows.replaceChildren(...entries.map((entry, at) => {
      const row = document.createElement("label");
      row.className = "lu-weight";
      const number = document.createElement("input");
      Object.assign(number, { type: "number", step: 0.05, min: -4, max: 4, value: entry.weight });
      number.setAttribute("aria-label", `Weight of ${entry.name}`);
      number.addEventListener("change", () => { entries[at].weight = parseFloat(number.value) || 0; type(field, write(entries)); });
      row.append(entry.name, number, made("×", () => { type(field, write(entries.filter((_, other) => other !== at))); weights(); }));
      row.lastChild.setAttribute("aria-label", `Leave ${entry.name} out`);
      return row;
    }));
  }
  list.append(...names.slice(0, MOST).map((name) => made(name, () => {
    const old = field.value.trim();
    if (!several) type(field, name);
    else if (!parse(old).some((entry) => entry.name === name)) type(field, [old, weighed ? `${name}:1` : name].filter(Boolean).join(", "));
    weights();
  })));
  if (names.length > MOST) list.append(`and ${names.length - MOST} more`);
  field.addEventListener("change", weights);
  box.append(rows, list);
  block.append(box);
  weights();
}

export function mount({ element }) {
  const panel = element.closest(".lu-fold"), none = element.querySelector(".lu-no-options");
  const groups = () => [...panel.querySelectorAll(".lu-options")];
  const backends = (group) => [...group.classList].filter((name) => name.startsWith("lu-of-")).map((name) => name.slice("lu-of-".length));
  const asked = new Set();

  draw = () => {
    const now = new Set([...chosen, secondModel].filter(Boolean).map(backendOf));
    let shown = 0;
    groups().forEach((group) => {
      const on = backends(group).some((name) => now.has(name));
      group.classList.toggle("lu-shown", on);
      shown += on;
    });
    none.hidden = shown > 0;
    if (panel.offsetParent) ask();
  };
  async function ask() {
    const names = groups().filter((group) => group.classList.contains("lu-shown")).flatMap(backends).filter((name) => !asked.has(name));
    if (!names.length) return;
    names.forEach((name) => asked.add(name));
    const answer = await fetch(`lineup/options?${names.map((name) => `backend=${encodeURIComponent(name)}`).join("&")}`).catch(() => null);
    if (!answer?.ok) return names.forEach((name) => asked.delete(name));
    for (const [backend, values] of Object.entries(await answer.json())) {
      const group = panel.querySelector(`.lu-of-${backend}`);
      Object.entries(values).forEach(([option, found]) => { if (found.length) offer(group, option, found); });
    }
  }
  new MutationObserver(() => { if (panel.offsetParent) ask(); })
    .observe(panel.closest(".lu-ask"), { attributes: true, attributeFilter: ["data-open"] });
  draw();
}
