"""A picture to start from, in a real browser; and a form that comes back whole with the link."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, open_setting
from tests.browser.test_compare import PHONE, WIDE, finished, pictures, press_compare
from tests.browser.test_control import drawing

UPLOADS = 'input[type="file"]'
SAID = ".block.lu-said"


def move(page: Page, slider: str, value: str) -> None:
    """Give a slider a value and leave it."""
    box = page.get_by_label(f"number input for {slider}")
    box.fill(value)
    box.press("Tab")


def test_a_start_picture_is_drawn_anew_and_the_form_comes_back_whole_with_the_link(
    visit: Visit, address: str, tmp_path: Path
) -> None:
    page = visit(address, **WIDE)
    page.fill(".lu-prompt textarea", "a blue circle on a white background")
    open_setting(page, "start")
    page.locator(f".lu-start {UPLOADS}").set_input_files(drawing(tmp_path / "start.png"))
    expect(page.locator(".lu-start img")).to_be_visible()
    page.get_by_label("Strength, from 0.01 to 1").fill("0.5")
    open_setting(page, "control")
    page.locator(f".lu-control {UPLOADS}").first.set_input_files(drawing(tmp_path / "edges.png"))
    expect(page.get_by_text("will follow this map")).to_be_visible(timeout=60_000)
    move(page, "Weak edges from", "60")
    move(page, "Weight", "0.8")
    press_compare(page)
    head = page.locator(".lu-run")
    expect(head).to_contain_text("from a start picture")
    first = pictures(page)

    again = visit(page.url, **PHONE)
    open_setting(again, "start")
    expect(again.locator(".lu-start img")).to_be_visible()
    expect(again.get_by_label("Strength, from 0.01 to 1")).to_have_value("0.5")
    open_setting(again, "control")
    expect(again.get_by_text("will follow this map")).to_be_visible(timeout=60_000)
    expect(again.get_by_label("number input for Weak edges from")).to_have_value("60")
    expect(again.get_by_label("number input for Weight")).to_have_value("0.8")
    address_then = again.url
    again.click("button.lu-go")
    again.wait_for_url(lambda url: url != address_then)
    finished(again)
    assert pictures(again) == first, "the form asks for exactly what the run was"


def test_a_start_picture_that_is_taken_away_is_not_sent(
    visit: Visit, address: str, tmp_path: Path
) -> None:
    page = visit(address, **WIDE)
    open_setting(page, "start")
    page.locator(f".lu-start {UPLOADS}").set_input_files(drawing(tmp_path / "start.png"))
    expect(page.locator(".lu-start img")).to_be_visible()
    page.get_by_label("Strength, from 0.01 to 1").fill("2")
    expect(page.locator(SAID)).to_contain_text(re.compile("strength", re.IGNORECASE))
    page.locator(".lu-start").get_by_role("button", name="Remove Image").click()
    press_compare(page)
    expect(page.locator(".lu-run")).not_to_contain_text("from a start picture")
