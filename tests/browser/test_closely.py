"""Looking closely: several pictures under one camera, two of them over each other."""

from collections.abc import Sequence

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.test_compare import PHONE, WIDE, press_compare

PLACES = """() => [...document.querySelectorAll(".lu-pane")].map((pane) => {
  const box = pane.getBoundingClientRect();
  const image = pane.querySelector("img").getBoundingClientRect();
  const middle = box.left + box.width / 2, centre = box.top + box.height / 2;
  return [(middle - image.left) / image.width, (centre - image.top) / image.height, image.width];
})"""


def places(page: Page) -> list[Sequence[float]]:
    """Return of each pane which point of the picture is in its middle, and the picture's width."""
    return [[round(number, 2) for number in pane] for pane in page.evaluate(PLACES)]


def test_two_pictures_are_chosen_zoomed_and_moved_in_step(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    press_compare(page)
    for check in page.locator(".lu-pick").all():
        check.click()
    page.get_by_role("button", name="Look closely at 2").click()
    dialog = page.locator("dialog.lu-dialog")
    panes = dialog.locator(".lu-pane")
    expect(panes).to_have_count(2)
    fitted = places(page)
    assert fitted[0][:2] == fitted[1][:2] == [0.5, 0.5]
    page.keyboard.press("1")
    assert [place[2] for place in places(page)] == [128, 128]
    panes.first.hover(position={"x": 40, "y": 40})
    page.mouse.wheel(0, -800)
    one, two = places(page)
    assert one == two
    assert one[2] > 2 * 128
    assert one[:2] != [0.5, 0.5], "the point below the pointer stays where it is"
    page.mouse.down()
    page.mouse.move(200, 300, steps=4)
    page.mouse.up()
    moved, other = places(page)
    assert moved == other != one
    dialog.locator(".lu-differences summary").click()
    expect(dialog.locator(".lu-differences")).to_contain_text("Miniature masked tokens")
    expect(dialog.locator(".lu-differences summary")).to_contain_text("model")

    page.get_by_role("button", name="Difference").click()
    expect(panes).to_have_count(1)
    page.get_by_role("button", name="Wipe").click()
    page.get_by_label("Wipe: how much").press("End")
    page.get_by_role("button", name="Side by side").click()
    page.keyboard.press("ArrowRight")
    assert places(page)[0] == moved, "going on keeps the zoom and the place"
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator("*:focus")).to_have_attribute("data-act", "closely")


def test_pictures_of_another_run_of_the_visit_stand_beside_this_ones(
    visit: Visit, address: str
) -> None:
    page = visit(address, **PHONE)
    press_compare(page)
    first = page.locator(".lu-board").get_attribute("data-run")
    page.locator(".lu-prompt textarea").fill("a green square")
    page.click("button.lu-go")
    page.wait_for_selector(f'.lu-board[data-ended="yes"]:not([data-run="{first}"])')
    page.locator('[data-act="full"]').first.click()
    dialog = page.locator("dialog.lu-dialog")
    expect(dialog.locator(".lu-thumbs button")).to_have_count(2)
    dialog.get_by_label("Add the pictures of another run").select_option(index=1)
    expect(dialog.locator(".lu-thumbs button")).to_have_count(4)
    dialog.locator(".lu-thumbs button").last.click()
    expect(dialog.locator(".lu-pane")).to_have_count(2)
    expect(dialog.locator(".lu-differences summary")).to_contain_text("prompt")
    for button in dialog.locator(".lu-close-bar button").all():
        box = button.bounding_box()
        assert box is not None and box["height"] >= 32
