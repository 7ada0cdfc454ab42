// The catalogue's table: a search box that keeps the rows holding every word, and sorting by column.
import { add } from "./picker.js";
import { order } from "./table.js";

export function mount({ element, watch }) {
  let sorted = { column: null, down: false };
  const rows = () => [...element.querySelectorAll("tbody tr")];

  function find() {
    const box = element.querySelector(".lu-find input");
    if (!box) return;
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows()) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    element.querySelector(".lu-count").textContent = shown === 1 ? "1 model" : `${shown} models`;
  }

  element.addEventListener("input", find);
  element.addEventListener("click", (event) => {
    const adding = event.target.closest('[data-act="add"]');
    if (adding) {
      adding.textContent = add(adding.dataset.id) ? "Added" : "Is chosen already";
      setTimeout(() => { adding.textContent = "Add to comparison"; }, 2000);
      return;
    }
    const button = event.target.closest('[data-act="sort"]');
    if (!button) return;
    const column = parseInt(button.dataset.column);
    sorted = { column, down: sorted.column === column && !sorted.down };
    order(element.querySelector("table"), sorted);
  });
  watch("value", find);
}
