// The model picker: chips for the chosen models, a panel with all of them grouped by family.
export function mount({ element, props, trigger, watch }) {
  // `props.value` is the list of chosen ids and belongs to the person; `props.models` and
  // `props.costs` come from the server and change with the form.
  let open = false;
  let filter = "";
  const text = (tag, className, words) => {
    const node = document.createElement(tag);
    node.className = className;
    node.textContent = words ?? "";
    return node;
  };

  const chosen = () => (Array.isArray(props.value) ? props.value : []);
  const cost = (id) => (props.costs ?? {})[id] ?? "";
  const known = () => props.models ?? [];
  const find = (id) => known().find((model) => model.id === id) ??
    { id, label: id, family: "added here", provider: "", state: "ready", sentence: "", status: "live" };

  function toggle(id) {
    const now = chosen();
    props.value = now.includes(id) ? now.filter((other) => other !== id) : [...now, id];
    draw();
    trigger("change");
  }

  function chip(model) {
    const on = chosen().includes(model.id);
    const button = text("button", `lu-chip lu-is-${model.state.replaceAll(" ", "-")}`, "");
    button.type = "button";
    button.dataset.id = model.id;
    button.setAttribute("aria-pressed", on);
    button.title = [model.sentence, on ? "Click to leave it out" : "Click to add it"].filter(Boolean).join(" ");
    button.append(text("i", "lu-dot", ""), text("span", "", model.label));
    button.append(text("em", "", model.state === "ready" ? cost(model.id) : model.state));
    return button;
  }

  function line(model) {
    const label = text("label", `lu-line lu-is-${model.state.replaceAll(" ", "-")}`, "");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = chosen().includes(model.id);
    box.disabled = ["retired", "no public API"].includes(model.status) && !box.checked;
    box.dataset.id = model.id;
    const words = text("span", "lu-what", "");
    words.append(text("b", "", model.label), text("small", "", model.sentence || model.note));
    label.append(box, text("i", "lu-dot", ""), words,
      text("em", "", model.status === "live" ? cost(model.id) : model.status_words));
    return label;
  }

  // Redraws the chips, and the panel's lines where it is open; the search box and the scroll stay.
  function draw() {
    const root = element.querySelector(".lu-picker");
    if (!root) return;
    const chips = text("div", "lu-chips", "");
    chips.append(...chosen().map(find).map(chip));
    const more = text("button", "lu-chip lu-more", open ? "close" : "+ models");
    more.type = "button";
    more.setAttribute("aria-expanded", open);
    chips.append(more);
    root.querySelector(".lu-chips")?.remove();
    root.prepend(chips);
    const shown = root.querySelector(".lu-panel");
    if (!open) shown?.remove();
    else if (shown) fill(shown.querySelector(".lu-groups"));
    else root.append(panel());
  }

  function fill(list) {
    const at = list.scrollTop;
    list.replaceChildren(...groups());
    list.scrollTop = at;
  }

  function panel() {
    const box = text("div", "lu-panel", "");
    const search = document.createElement("input");
    const list = text("div", "lu-groups", "");
    search.type = "search";
    search.placeholder = props.adding ? "Find a model, or type a Hub id, folder, .safetensors file, or comfyui/, a1111/ or openai@SERVER/ and a name, and press Enter" : "Find a model";
    search.value = filter;
    search.addEventListener("input", () => { filter = search.value; fill(list); });
    search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      const wanted = filter.trim();
      if (!props.adding || !wanted || known().some(fits)) return;
      search.value = filter = "";
      toggle(/^(openai@[\w-]+|a1111|comfyui)\/./.test(wanted) ? wanted : `local/${wanted}`);
    });
    fill(list);
    box.append(search, list);
    return box;
  }

  const fits = (model) => `${model.label} ${model.id} ${model.family} ${model.provider}`.toLowerCase().includes(filter.trim().toLowerCase());

  function groups() {
    const shown = known().filter(fits);
    if (!shown.length) return [text("p", "lu-none", props.adding ? "No such model in the catalogue. Press Enter to add it as a diffusers model, or as that of your server where it begins with comfyui/, a1111/ or openai@." : "No such model.")];
    return [...new Set(shown.map((model) => model.group))].map((group) => {
      const part = text("section", "", "");
      part.append(text("h4", "", group), ...shown.filter((model) => model.group === group).map(line));
      return part;
    });
  }

  element.addEventListener("click", (event) => {
    const button = event.target.closest("button.lu-chip");
    if (!button) return;
    if (button.classList.contains("lu-more")) { open = !open; draw(); if (open) element.querySelector("input[type=search]")?.focus(); }
    else toggle(button.dataset.id);
  });
  element.addEventListener("change", (event) => {
    if (event.target.matches("input[type=checkbox]")) { event.stopPropagation(); toggle(event.target.dataset.id); }
  });
  watch(["value", "models", "costs"], draw);
  draw();
}
