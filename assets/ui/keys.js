// "Open Keys": go to the Keys tab, to the field of the service that lacks a key. A service is named
// as "backend" or "backend@server".
export async function openKeys(service) {
  document.querySelector('[role=tab][data-tab-id="keys"]')?.click();
  for (let tries = 0; tries < 40; tries += 1) { // Gradio renders a tab when it is first opened
    const name = document.querySelector(`.lu-key-name[data-service="${CSS.escape(service)}"]`);
    const row = name?.closest(".lu-key-row");
    if (row?.offsetParent) {
      row.scrollIntoView({ block: "center" });
      (row.querySelector("input") ?? row.querySelector("a, button"))?.focus({ preventScroll: true });
      return;
    }
    await new Promise((wake) => setTimeout(wake, 50));
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest('.lu-said [data-act="keys"], .lu-card [data-act="keys"]');
  if (button) openKeys(button.dataset.service);
});
