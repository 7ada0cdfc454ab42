// Full size: one dialog, arrows go through all pictures of the board in `element`.
export function full(element, link) {
  const links = [...element.querySelectorAll('.lu-card:not([hidden]) [data-act="full"]')];
  let at = links.indexOf(link);
  const dialog = document.createElement("dialog");
  dialog.className = "lu-dialog";
  dialog.setAttribute("aria-label", "A picture in full size");
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
  dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
  show();
  document.body.append(dialog);
  dialog.showModal();
}
