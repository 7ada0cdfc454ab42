"""The Compare tab in a real browser: the untouched first page, one click, and what follows."""

import hashlib
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, app, open_setting
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script

WIDE = {"viewport": {"width": 1440, "height": 950}}
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
DRAWN = 120_000  # milliseconds: the first run loads torch


def press_compare(page: Page) -> None:
    """Press Compare and wait until every card has ended."""
    page.click("button.lu-go")
    finished(page)


def finished(page: Page) -> None:
    """Wait until the run that is shown has ended."""
    page.wait_for_selector('.lu-board[data-ended="yes"]', timeout=DRAWN)


def pictures(page: Page) -> list[str]:
    """Return the SHA-256 of each picture as the browser gets it."""
    links = [
        link.get_attribute("href") for link in page.query_selector_all(".lu-pics [data-act=full]")
    ]
    bodies = [page.request.get(f"{page.url.partition('?')[0]}{link}").body() for link in links]
    return [hashlib.sha256(body).hexdigest() for body in bodies]


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["desktop", "phone in the dark"])
def test_one_click_on_the_untouched_page_fills_two_cards(
    visit: Visit, address: str, screen: dict[str, object]
) -> None:
    page = visit(address, **screen)
    expect(page.locator(".block.lu-said")).to_contain_text("2 models · all free")
    press_compare(page)
    assert page.locator(".lu-card.lu-done").count() == 2
    for card in page.locator(".lu-card").all():
        expect(card).to_contain_text("free")
        expect(card).to_contain_text("seed 1")
        expect(card).to_contain_text(re.compile(r"\d+\.\d s drawing"))
    assert page.locator(".lu-table tbody tr").count() == 2
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.evaluate("window.innerWidth"), "the page scrolls sideways"


def test_the_link_of_a_run_shows_the_same_pictures_byte_for_byte(
    visit: Visit, address: str
) -> None:
    page = visit(address, **WIDE)
    page.click("button.lu-more")
    page.click('.lu-line input[data-id="miniature/discrete"]')
    press_compare(page)
    first = pictures(page)
    link = page.url
    assert "?run=" in link
    again = visit(link, **WIDE)
    finished(again)
    assert len(first) == 3
    assert pictures(again) == first
    expect(again.locator(".lu-chips [aria-pressed=true]")).to_have_count(3)
    expect(again.locator(".block.lu-said")).to_contain_text("3 models · all free")
    expect(again.locator("textarea").first).to_have_value(
        "a red star left of a blue ring on a white background"
    )


def test_a_picture_is_named_by_its_hash_and_downloads_as_it_is(
    visit: Visit, address: str, tmp_path: Path
) -> None:
    page = visit(address, **WIDE)
    press_compare(page)
    with page.expect_download() as download:
        page.locator(".lu-get").first.click()
    file = tmp_path / "picture.png"
    download.value.save_as(file)
    href = page.locator(".lu-get").first.get_attribute("href") or ""
    assert hashlib.sha256(file.read_bytes()).hexdigest() in href
    assert "seed1" in download.value.suggested_filename


def seconds(page: Page) -> list[float]:
    """Return the table's seconds of drawing from top to bottom."""
    cells = page.query_selector_all("td.lu-bars")
    return [float(cell.get_attribute("data-v") or "0") for cell in cells]


def test_control_enter_runs_and_the_table_sorts(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    page.locator("textarea").first.press("Control+Enter")
    finished(page)
    page.click('[data-act="sort"][data-column="5"]')
    totals = [
        float(cell.get_attribute("data-v") or "0") for cell in page.query_selector_all("td.lu-bars")
    ]
    assert totals == sorted(totals)
    page.click('[data-act="sort"][data-column="5"]')
    totals = [
        float(cell.get_attribute("data-v") or "0") for cell in page.query_selector_all("td.lu-bars")
    ]
    assert totals == sorted(totals, reverse=True)


def test_an_empty_prompt_is_told_before_anything_runs(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    page.locator("textarea").first.fill("   ")
    page.click("button.lu-go")
    expect(page.locator(".block.lu-said .lu-bad")).to_contain_text("prompt is empty")
    assert page.locator(".lu-card").count() == 0


def test_no_model_is_told_before_anything_runs(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    for _ in range(2):
        page.locator(".lu-chip[data-id]").first.click()
    page.click("button.lu-go")
    expect(page.locator(".block.lu-said .lu-bad")).to_contain_text("model")
    assert page.locator(".lu-card").count() == 0


def test_strange_prompts_are_drawn_and_shown_as_they_are(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    words = "نجمة حمراء ⭐ <b>“star”</b> 星"
    page.locator("textarea").first.fill(words)
    press_compare(page)
    assert page.locator(".lu-card.lu-done").count() == 2
    expect(page.locator(".lu-run q")).to_have_text(words)


def test_a_model_that_cannot_run_is_one_red_card_and_the_other_goes_on(
    visit: Visit, address: str
) -> None:
    page = visit(address, **WIDE)
    page.click(".lu-more")
    page.fill(".lu-panel input[type=search]", "nobody/no-such-model")
    page.press(".lu-panel input[type=search]", "Enter")
    press_compare(page)
    assert page.locator(".lu-card.lu-done").count() == 2
    failed = page.locator(".lu-card.lu-failed")
    expect(failed).to_have_count(1)
    expect(failed.locator(".lu-say p")).not_to_be_empty()
    expect(failed.locator('[data-act="retry"]')).to_be_visible()


def test_trying_again_keeps_the_first_attempt_in_the_table(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    page.click(".lu-more")
    page.fill(".lu-panel input[type=search]", "nobody/no-such-model")
    page.press(".lu-panel input[type=search]", "Enter")
    for _ in range(2):
        page.locator(".lu-chip[data-id^=miniature]").first.click()
    press_compare(page)
    page.click('[data-act="retry"]')
    expect(page.locator(".lu-table tbody tr")).to_have_count(2, timeout=DRAWN)
    expect(page.locator(".lu-table")).to_contain_text("try 2")
    expect(page.locator(".lu-card")).to_have_count(1)


def test_trying_again_can_be_asked_for_again_where_it_was_refused(
    visit: Visit, server: OpenAIServer, tmp_path: Path
) -> None:
    server.usual = Script(cut=0)  # no answer: it may have been billed, and counts
    service = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "sk-test-never-real"}
    with app(tmp_path, LINEUP_DAILY_BUDGET="0.02", **service) as address:
        page = visit(address, **WIDE)
        page.click(".lu-more")
        page.click('.lu-line input[data-id="openai/gpt-image-2"]')
        for _ in range(2):
            page.locator(".lu-chip[data-id^=miniature]").first.click()
        press_compare(page)
        again = page.locator('.lu-card.lu-unknown [data-act="retry"]')
        for _ in range(2):
            with page.expect_response(re.compile("gradio_api")):
                again.click()
            expect(page.locator(".block.lu-said .lu-bad")).to_contain_text("of today's $0.02")
            expect(again).to_be_enabled()
        assert len(server.generations) == 1


def test_a_link_to_no_run_says_so(visit: Visit, address: str) -> None:
    page = visit(f"{address}/?run=0123456789abcdef", **WIDE)
    expect(page.locator(".block.lu-said .lu-bad")).to_contain_text("no run 0123456789abcdef")


@pytest.mark.parametrize("words", ["big", "0×0"])
def test_a_size_that_cannot_be_is_told_before_anything_runs(
    visit: Visit, address: str, words: str
) -> None:
    page = visit(address, **WIDE)
    open_setting(page, "size")
    box = page.get_by_label("Size")
    box.fill(words)
    box.press("Enter")
    page.click("button.lu-go")
    expect(page.locator(".block.lu-said .lu-bad").first).to_be_visible()
    assert page.locator(".lu-card").count() == 0


def test_no_steps_is_told_before_anything_runs(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    open_setting(page, "steps")
    page.get_by_label("Steps", exact=True).fill("0")
    page.click("button.lu-go")
    expect(page.locator(".block.lu-said .lu-bad")).to_contain_text("teps")
    assert page.locator(".lu-card").count() == 0


def test_stop_ends_the_run_and_says_so(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    open_setting(page, "steps")
    page.get_by_label("Steps", exact=True).fill("500")
    page.click("button.lu-go")
    page.wait_for_selector(".lu-card.lu-running")
    page.get_by_role("button", name="Stop", exact=True).click()
    finished(page)
    expect(page.locator(".lu-card.lu-cancelled").first).to_contain_text("Stopped")
