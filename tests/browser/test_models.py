"""The Models tab in a real browser: find, sort, read, on a desk and on a phone."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.test_compare import PHONE, WIDE


def models(page: Page) -> None:
    """Open the tab and wait for the table."""
    page.get_by_role("tab", name="Models").click()
    expect(page.locator(".lu-catalogue tbody tr").first).to_be_visible()


def column(page: Page, number: int) -> list[str]:
    """What the rows say in a column, from top to bottom."""
    cells = page.locator(f".lu-catalogue tbody td:nth-child({number + 1})")
    return cells.evaluate_all("cells => cells.map(cell => cell.dataset.v)")


def test_the_search_keeps_the_rows_that_hold_every_word(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    models(page)
    everything = page.locator(".lu-catalogue tbody tr").count()
    page.get_by_label("Find a model").fill("miniature latent diffusion")
    rows = page.locator(".lu-catalogue tbody tr:visible")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("miniature/diffusion")
    expect(page.locator(".lu-count")).to_have_text("1 model")
    page.get_by_label("Find a model").fill("no such model anywhere")
    expect(rows).to_have_count(0)
    page.get_by_label("Find a model").fill("")
    expect(rows).to_have_count(everything)


def test_a_click_on_a_head_sorts_and_another_turns_it_round(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    models(page)
    head = page.locator(".lu-catalogue th").nth(3)
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    rising = column(page, 3)
    known = [float(price) for price in rising if price]
    assert known == sorted(known) and len(set(known)) > 3
    assert rising[len(known) :] == [""] * (len(rising) - len(known)), "unknown comes last"
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    falling = [float(price) for price in column(page, 3) if price]
    assert falling == known[::-1]


def test_what_is_gone_says_since_when_and_what_came_after(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    models(page)
    row = page.locator(".lu-catalogue tbody tr", has_text="openai/dall-e-2")
    expect(row).to_contain_text("retired 12 May 2026")
    expect(row).to_contain_text("then openai/")
    expect(row.get_by_role("link", name="docs")).to_have_attribute("href", re.compile("^https://"))


def test_on_a_phone_each_model_is_a_card_that_fits(visit: Visit, address: str) -> None:
    page = visit(address, **PHONE)
    models(page)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.evaluate("window.innerWidth"), "the page scrolls sideways"
    for cell in page.locator(".lu-catalogue tbody tr").first.locator("td").all():
        box = cell.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.locator(".lu-catalogue th").nth(3).get_by_role("button").click()
    known = [float(price) for price in column(page, 3) if price]
    assert known == sorted(known)
