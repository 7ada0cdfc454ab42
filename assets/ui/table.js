// Sort a table by the column that `sorted` names; cells say their value in data-v, unknown stays last.
export function order(table, sorted) {
  const key = (row) => row.children[sorted.column].dataset.v;
  const compare = (a, b) => {
    if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
    const numbers = [Number(key(a)), Number(key(b))];
    const order = numbers.some(isNaN) ? key(a).localeCompare(key(b)) : numbers[0] - numbers[1];
    return sorted.down ? -order : order;
  };
  const body = table.querySelector("tbody");
  body.append(...[...body.children].sort(compare));
  table.querySelectorAll("th").forEach((head, index) => {
    const here = index === sorted.column;
    head.setAttribute("aria-sort", here ? (sorted.down ? "descending" : "ascending") : "none");
  });
}
