// The line of settings: a button for each, which says what is set and opens the setting's panel.
// `props.value` holds the values of the shared settings, in the order of the names below;
// `props.sections` what each other section is set to; `props.entries` name, label and fields.
const OWN = "model's own";
let entries = [];
let form = null;

const short = (text, most = 42) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// The text of each shared setting, by the name of its entry.
function shared([size, seed, locked, count, steps, guidance, negative] = []) {
  return {
    size: size && size !== OWN ? String(size).replace(/\s*[×x*]\s*/i, " × ") : OWN,
    seed: locked === false ? "new each time" : `${seed ?? "none"}, locked`,
    count: String(count ?? 1),
    steps: [steps || OWN, guidance ? `guidance ${guidance}` : ""].filter(Boolean).join(", "),
    negative: negative?.trim() ? short(negative.trim()) : "none",
    builder: "",
    presets: "",
  };
}

function close(focus) {
  const was = form?.dataset.open;
  if (!was) return;
  delete form.dataset.open;
  redraw();
  if (focus) form.querySelector(`[data-panel="${was}"]`)?.focus();
}

function open(name) {
  form.dataset.open = name;
  redraw();
  const panel = form.querySelector(`.lu-fold-${name}`);
  // What is heavy is laid out when its panel is opened for the first time.
  panel?.querySelectorAll("button.lu-prepare:not([data-pressed])").forEach((button) => {
    button.dataset.pressed = "yes";
    button.click();
  });
  const first = panel?.querySelector("input:not([type=file]), textarea, select, button");
  first?.focus({ preventScroll: true });
  panel?.scrollIntoView({ block: "nearest" });
}

// Open a setting's panel from elsewhere on the page, and bring it into sight.
export function show(name) {
  if (document.querySelector(".lu-said .lu-bad")) return;
  open(name);
  form.scrollIntoView({ block: "start" });
}

function redraw() {
  form.querySelectorAll("[data-panel]").forEach((button) => {
    button.setAttribute("aria-expanded", button.dataset.panel === form.dataset.open);
  });
}

// The sentence below the form names the field that is wrong: its panel opens, the field is marked
// until something is typed in it, and it has the focus.
export function reveal() {
  const wrong = document.querySelector(".lu-said .lu-bad[data-field]");
  if (!wrong || !form) return;
  const { field } = wrong.dataset;
  const entry = entries.find((each) => each.fields.includes(field));
  if (entry && form.dataset.open !== entry.name) open(entry.name);
  const within = (part) => form.querySelector(`${part} :is(input:not([type=file]), textarea)`);
  const input = within(`.lu-field-${field}`) ?? (entry && within(`.lu-fold-${entry.name}`)) ??
    (field === "models" ? form.querySelector(".lu-more") : null);
  if (!input) return wrong.scrollIntoView({ block: "nearest" });
  const marked = input.closest(".block") ?? input;
  marked.classList.add("lu-wrong");
  input.setAttribute("aria-invalid", "true");
  input.addEventListener("input", () => {
    marked.classList.remove("lu-wrong");
    input.removeAttribute("aria-invalid");
  }, { once: true });
  input.focus({ preventScroll: true });
  input.scrollIntoView({ block: "center" });
}

export function mount({ element, props, watch }) {
  form = element.closest(".lu-ask");
  entries = props.entries ?? [];
  const line = element.querySelector(".lu-settings-line");

  function draw() {
    const texts = { ...shared(props.value), ...props.sections };
    for (const { name, label } of entries) {
      let button = line.querySelector(`[data-panel="${name}"]`);
      if (!button) {
        button = document.createElement("button");
        button.type = "button";
        button.dataset.panel = name;
        button.append(label, " ", document.createElement("b"));
        line.append(button);
      }
      const text = texts[name] ?? "none";
      button.querySelector("b").textContent = text;
      button.classList.toggle("lu-is-set", !["", "none", OWN, "1"].includes(text));
    }
    redraw();
  }

  line.addEventListener("click", (event) => {
    const button = event.target.closest("[data-panel]");
    if (!button) return;
    if (form.dataset.open === button.dataset.panel) close(true);
    else open(button.dataset.panel);
  });
  // Ctrl or Cmd and Enter press Compare from any field, as everywhere.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.target.closest?.("dialog")) return;
    event.preventDefault();
    document.activeElement?.blur();
    setTimeout(() => document.querySelector("button.lu-go")?.click(), 50);
  });
  form.addEventListener("keydown", (event) => {
    const inside = event.target.closest(".lu-fold, .lu-settings-line");
    if (event.key === "Escape" && inside && !event.defaultPrevented) close(true);
  });
  // A prompt may be written from right to left; and what Gradio labels must have a role for it.
  const mend = () => {
    form.querySelectorAll("textarea:not([dir=auto])").forEach((area) => { area.dir = "auto"; });
    form.querySelectorAll("div[aria-label]:not([role])").forEach((part) => { part.setAttribute("role", "group"); });
  };
  new MutationObserver(mend).observe(form, { childList: true, subtree: true });
  mend();
  watch(["value", "sections"], draw);
  draw();
}
