"""From a picture on: its menu, and pictures that are dropped on the page."""

import base64
import io

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, open_setting
from tests.browser.test_compare import WIDE, press_compare
from tests.browser.test_visit import shown

DROP = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  for (const kind of ["dragover", "drop"]) document.querySelector(".lu-head").dispatchEvent(
    new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def menu(page: Page, item: str) -> None:
    """Choose an item of the first picture's menu."""
    page.locator(".lu-menu-opener").first.click()
    page.get_by_role("menuitem", name=item).click()


def with_settings(text: str) -> str:
    """Return a PNG with settings in it, in Base64."""
    info = PngInfo()
    info.add_text("parameters", text)
    out = io.BytesIO()
    Image.new("RGB", (32, 48), "red").save(out, "PNG", pnginfo=info)
    return base64.b64encode(out.getvalue()).decode()


def test_a_picture_of_a_run_becomes_start_or_control_picture(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    press_compare(page)
    run = shown(page)
    menu(page, "Start from this")
    expect(page.locator(".lu-start img")).to_be_visible()
    expect(page.locator('[data-panel="start"]')).to_contain_text("a picture")
    menu(page, "Control with this")
    expect(page.get_by_text("will follow this map")).to_be_visible(timeout=60_000)
    expect(page.locator('[data-panel="control"]')).to_contain_text("canny")
    press_compare(page)
    page.wait_for_selector(f'.lu-board[data-ended="yes"]:not([data-run="{run}"])')
    expect(page.locator(".lu-run")).to_contain_text("from a start picture")
    expect(page.locator(".lu-run")).to_contain_text("control canny")


def test_new_seed_more_and_the_same_settings_for_other_models(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    open_setting(page, "steps")
    page.get_by_label("Steps", exact=True).fill("3")
    press_compare(page)
    run = shown(page)
    menu(page, "New seed")
    page.wait_for_selector(f'.lu-board[data-ended="yes"]:not([data-run="{run}"])')
    second = shown(page)
    expect(page.locator(".lu-settings")).not_to_have_text("seed 1 · steps 3")
    expect(page.locator(".lu-settings")).to_contain_text("steps 3")
    menu(page, "More of this model")
    page.wait_for_selector(f'.lu-board[data-ended="yes"]:not([data-run="{second}"])')
    expect(page.locator(".lu-card")).to_have_count(1)
    expect(page.locator(".lu-card figcaption")).to_have_count(4)
    page.locator(".lu-prompt textarea").fill("something else")
    menu(page, "Same settings, other models")
    expect(page.locator(".lu-prompt textarea")).to_have_value(
        "a red star left of a blue ring on a white background"
    )
    expect(page.locator(".lu-panel")).to_be_visible()
    menu(page, "Show parameters")
    expect(page.locator(".lu-note-box")).to_contain_text("a red star left")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="replay").click()
    expect(page.locator(".lu-note-box")).to_contain_text("5. A U-Net, its skips")
    expect(page.locator(".lu-replay-strip img").last).to_be_visible()
    page.locator(".lu-replay input").press("End")
    expect(page.locator(".lu-replay-strip button").last).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    opener = page.locator(".lu-menu-opener").first
    opener.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(page.locator("*:focus")).to_have_text("Control with this")
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()


def test_a_dropped_picture_offers_its_settings(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    settings = "Steps: 7, Sampler: Euler, CFG scale: 3, Seed: 99, Size: 512x768"
    text = f"a fox <b>\nNegative prompt: rain\n{settings}"
    page.evaluate(DROP, [with_settings(text), "fox.png"])
    box = page.locator(".lu-note-box")
    expect(box).to_contain_text("a fox <b>")
    expect(box).to_contain_text("The form does not take: sampler Euler.")
    box.get_by_role("button", name="Use its settings").click()
    expect(page.locator(".lu-prompt textarea")).to_have_value("a fox <b>")
    line = page.locator(".lu-settings-line")
    for words in ("Size 512 × 768", "Seed 99, locked", "Steps 7, guidance 3", "Negative rain"):
        expect(line).to_contain_text(words)
    page.evaluate(DROP, [with_settings("nothing"), "plain.png"])
    expect(box).to_contain_text("No settings stand in it")
    box.get_by_role("button", name="Start from it").click()
    expect(page.locator(".lu-start img")).to_be_visible()
