"""The control picture in a real browser: the map before the run, and a picture that follows it."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.test_compare import WIDE, press_compare


def drawing(file: Path, side: int = 256) -> Path:
    """Write a filled circle, left of the middle."""
    picture = Image.new("RGB", (side, side), "white")
    box = (side // 8, side // 4, side // 8 + side // 2, side // 4 + side // 2)
    ImageDraw.Draw(picture).ellipse(box, fill="red")
    picture.save(file)
    return file


def give(page: Page, file: Path) -> None:
    """Open the control picture's part and upload `file`."""
    page.get_by_text("Control picture", exact=True).first.click()
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


@pytest.mark.parametrize("kind", ["corrupt", "tiny", "bomb"])
def test_a_bad_control_picture_is_told_in_a_sentence_before_the_run(
    visit: Visit, address: str, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "picture.png"
    match kind:
        case "corrupt":
            file.write_bytes(drawing(tmp_path / "good.png").read_bytes()[:100])
        case "tiny":
            Image.new("RGB", (1, 1)).save(file)
        case _:
            Image.new("1", (30_000, 30_000)).save(file)
    page = visit(address, **WIDE)
    give(page, file)
    said = page.locator(".lu-hint")
    expect(said.first).not_to_contain_text("Upload a picture or draw one", timeout=60_000)
    expect(said.first).to_contain_text("picture")
    expect(page.get_by_text("will follow this map")).to_have_count(0)
