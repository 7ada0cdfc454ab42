// Copy a text, and say on the button whether it was copied. Pages without HTTPS have no clipboard
// interface: there the old command copies a selection.
export async function copy(text, button) {
  const before = button.dataset.label ??= button.textContent;
  const copied = await write(text);
  button.textContent = copied ? "Copied" : "Not copied: select it and press Ctrl C";
  setTimeout(() => { button.textContent = before; }, copied ? 1500 : 4000);
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    area.setAttribute("readonly", "");
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus({ preventScroll: true });
    return copied;
  }
}
