"""The control picture in a real browser: the map before the run, and a picture that follows it."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Locator, Page, Request, expect

from tests.browser.conftest import Visit, open_setting
from tests.browser.test_compare import PHONE, WIDE, finished, pictures, press_compare


def drawing(file: Path, side: int = 256) -> Path:
    """Write a filled circle, left of the middle."""
    picture = Image.new("RGB", (side, side), "white")
    box = (side // 8, side // 4, side // 8 + side // 2, side // 4 + side // 2)
    ImageDraw.Draw(picture).ellipse(box, fill="red")
    picture.save(file)
    return file


def give(page: Page, file: Path) -> None:
    """Open the control picture's part and upload `file`."""
    open_setting(page, "control")
    page.set_input_files('input[type="file"]', file)


def test_the_map_shows_before_the_run_and_the_card_says_who_followed_it(
    visit: Visit, address: str, tmp_path: Path
) -> None:
    page = visit(address, **WIDE)
    give(page, drawing(tmp_path / "circle.png"))
    expect(page.get_by_text("will follow this map")).to_be_visible(timeout=60_000)
    page.locator("textarea").first.fill("a red circle on a white background")
    press_compare(page)
    assert page.locator(".lu-card.lu-done").count() == 2
    masked = page.locator(".lu-card", has_text="masked")
    expect(masked).to_contain_text("control picture ignored")
    diffusion = page.locator(".lu-card", has_text="Miniature diffusion")
    expect(diffusion).not_to_contain_text("ignored")


def test_the_estimate_is_made_anew_for_a_control_picture_and_without_it(
    visit: Visit, address: str, tmp_path: Path
) -> None:
    page = visit(address, **WIDE)
    handlers = page.evaluate("window.gradio_config.dependencies.map(it => [it.api_name, it.id])")
    estimate = f'"fn_index":{dict(handlers)["estimate"]},'

    def is_estimate(request: Request) -> bool:
        return estimate in (request.post_data or "").replace(" ", "")

    open_setting(page, "control")
    with page.expect_request(is_estimate):
        page.set_input_files('input[type="file"]', drawing(tmp_path / "circle.png"))
    expect(page.get_by_text("will follow this map")).to_be_visible(timeout=60_000)
    with page.expect_request(is_estimate):
        page.get_by_role("button", name="Remove the control picture").click()


def square(file: Path, side: int = 256) -> Path:
    """Write a filled square, right of the middle and low."""
    picture = Image.new("RGB", (side, side), "white")
    box = (side * 9 // 16, side // 2, side * 14 // 16, side * 13 // 16)
    ImageDraw.Draw(picture).rectangle(box, fill="blue")
    picture.save(file)
    return file


def setting(part: Locator, name: str) -> Locator:
    """The number box of a slider."""
    return part.get_by_label(f"number input for {name}")


def test_several_controls_steer_together_and_come_back_with_the_link(
    visit: Visit, address: str, tmp_path: Path
) -> None:
    page = visit(address, **WIDE)
    parts, followed = page.locator(".lu-control"), page.get_by_text("will follow this map")
    give(page, drawing(tmp_path / "circle.png"))
    expect(followed).to_have_count(1, timeout=60_000)
    add = page.get_by_role("button", name="Add a control")
    add.click()
    expect(parts).to_have_count(2)
    second = parts.nth(1)
    # Gradio connects the events of a part that was just rendered a moment after it is shown.
    expect(setting(second, "Weight")).to_be_visible()
    page.wait_for_timeout(500)
    second.locator('input[type="file"]').first.set_input_files(square(tmp_path / "square.png"))
    expect(followed).to_have_count(2, timeout=60_000)
    for name, value in (("Weight", "0.6"), ("Start: fraction of the steps", "0.1")):
        setting(second, name).fill(value)
        setting(second, name).press("Tab")
    setting(second, "Weak edges from").fill("60")
    setting(second, "Weak edges from").press("Tab")

    add.click()
    expect(parts).to_have_count(3)
    expect(add).to_be_hidden()
    expect(setting(second, "Weight")).to_have_value("0.6")
    expect(setting(second, "Weak edges from")).to_have_value("60")
    expect(second.get_by_role("cell", name="square.png")).to_be_visible()
    parts.nth(2).get_by_role("button", name="Remove this control").click()
    expect(parts).to_have_count(2)
    expect(add).to_be_visible()

    page.locator("textarea").first.fill("a red circle and a blue square on a white background")
    open_setting(page, "steps")
    page.get_by_label("Steps", exact=True).fill("4")
    press_compare(page)
    expect(page.locator(".lu-run")).to_contain_text("control canny + canny")
    masked = page.locator(".lu-card", has_text="masked")
    expect(masked).to_contain_text("control pictures ignored")
    first = pictures(page)

    again = visit(page.url, **PHONE)
    open_setting(again, "control")
    expect(again.get_by_text("will follow this map")).to_have_count(2, timeout=60_000)
    second = again.locator(".lu-control").nth(1)
    expect(setting(second, "Weight")).to_have_value("0.6")
    expect(setting(second, "Start: fraction of the steps")).to_have_value("0.1")
    expect(setting(second, "Weak edges from")).to_have_value("60")
    assert again.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    address_then = again.url
    again.click("button.lu-go")
    again.wait_for_url(lambda url: url != address_then)
    finished(again)
    assert pictures(again) == first, "the form asks for exactly what the run was"


@pytest.mark.parametrize("kind", ["corrupt", "bomb"])
def test_a_bad_control_picture_is_told_in_a_sentence_before_the_run(
    visit: Visit, address: str, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "picture.png"
    match kind:
        case "corrupt":
            file.write_bytes(drawing(tmp_path / "good.png").read_bytes()[:100])
        case _:
            Image.new("1", (30_000, 30_000)).save(file)
    page = visit(address, **WIDE)
    give(page, file)
    said = page.locator(".lu-hint")
    expect(said.first).not_to_contain_text("Upload a picture or draw one", timeout=60_000)
    expect(said.first).to_contain_text("picture")
    expect(page.get_by_text("will follow this map")).to_have_count(0)
