"""Midjourney without a bot: the card shows a command, and takes the grid that a person brings."""

import hashlib
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Visit
from tests.browser.test_compare import PHONE, WIDE, finished, pictures
from tests.servers.pictures import plain


def inside(whole: Locator, part: Locator) -> bool:
    """Return whether `part` lies within `whole`, so that nothing of it is cut off."""
    outer, inner = whole.bounding_box(), part.bounding_box()
    assert outer and inner and inner["width"] > 0 and inner["height"] > 0
    right, bottom = inner["x"] + inner["width"], inner["y"] + inner["height"]
    return (
        (outer["x"] <= inner["x"] and right <= outer["x"] + outer["width"] + 1)
        and outer["y"] <= inner["y"]
        and bottom <= outer["y"] + outer["height"] + 1
    )


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["desktop", "phone in the dark"])
def test_the_grid_is_brought_to_its_card(
    visit: Visit, address: str, tmp_path: Path, screen: dict[str, object]
) -> None:
    page = visit(address, **screen)
    for chip in ("Miniature diffusion", "Miniature masked tokens"):
        page.locator(".lu-chip", has_text=chip).click()
    page.locator(".lu-more").click()
    page.locator(".lu-line", has_text="Midjourney V8.1").locator("input").check()
    page.click("button.lu-go")
    card = page.locator(".lu-card")
    expect(card).to_contain_text("Waiting for you")
    expect(card.locator("code")).to_contain_text("/imagine prompt: a red star left of a blue ring")

    assert inside(card, card.locator(".lu-bring")), "all that is to be done can be seen"

    damaged, grid = tmp_path / "damaged.png", tmp_path / "grid.png"
    damaged.write_bytes(plain(64, 64)[:-20])
    grid.write_bytes(plain(64, 64))
    card.locator("[data-bring]").set_input_files(damaged)
    expect(card.locator(".lu-bring")).to_contain_text("That is no whole picture.")
    card.locator("[data-bring]").set_input_files(grid)
    finished(page)
    expect(card).to_contain_text("$0.05")
    assert all(
        inside(card.locator(".lu-pic"), each)
        for each in card.locator(".lu-pics [data-act=full]").all()
    )
    whole, *parts = pictures(page)
    assert whole == hashlib.sha256(grid.read_bytes()).hexdigest() and len(parts) == 4
