"""The board: its density, the order of its cards, which are hidden, and the shape of its rows."""

import io
from collections.abc import Generator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, app
from tests.browser.test_compare import PHONE, WIDE, finished
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script, failing

SHAPES = {"square": (64, 64), "wide": (128, 64), "tall": (64, 128)}
FILLED = """() => [...document.querySelectorAll(".lu-card .lu-pics img")].map((image) => {
  const box = image.getBoundingClientRect();
  const cell = image.closest(".lu-pic").getBoundingClientRect();
  const shape = image.naturalWidth / image.naturalHeight;
  const width = Math.min(box.width, box.height * shape);
  const height = Math.min(box.height, box.width / shape);
  return width * height / (cell.width * cell.height);
})"""
HEIGHTS = """() => [...document.querySelectorAll(".lu-grid > .lu-card")].map((card) =>
  [Math.round(card.offsetTop), Math.round(card.querySelector(".lu-pic").offsetHeight)])"""


@pytest.fixture
def served(tmp_path: Path, server: OpenAIServer) -> Generator[str, None, None]:
    """The app with a server whose models draw pictures of different shapes, one after another."""
    for number, (name, size) in enumerate(SHAPES.items()):
        file = io.BytesIO()
        Image.new("RGB", size, (90, 60 * number, 160)).save(file, "PNG")
        delay = (0.9, 0.1, 0.5)[number]
        server.models[name] = Script(stream=False, picture=file.getvalue(), delay=delay)
    server.models["refusing"] = failing(400, "moderation_blocked", "No.")
    servers = f"mine={server.base_url}"
    with app(tmp_path, OPENAI_SERVERS=servers, OPENAI_MINE_API_KEY="sk-test-never-real") as address:
        yield address


def drawn(page: Page) -> None:
    """Let the four models of the server draw."""
    for _ in range(2):
        page.locator(".lu-chip[data-id]").first.click()
    page.click(".lu-more")
    for name in (*SHAPES, "refusing"):
        page.fill(".lu-panel input[type=search]", f"openai@mine/{name}")
        page.press(".lu-panel input[type=search]", "Enter")
        expect(page.locator(f'.lu-chip[data-id="openai@mine/{name}"]')).to_be_visible()
    page.click(".lu-more")
    page.click("button.lu-go")
    finished(page)


def names(page: Page) -> list[str]:
    """Return the names of the cards that are to be seen, in their order."""
    return [card.inner_text() for card in page.locator(".lu-card:visible .lu-name").all()]


def test_cards_are_ordered_with_the_table_hidden_brought_back_and_moved(
    visit: Visit, served: str
) -> None:
    page = visit(served, **WIDE)
    drawn(page)
    chosen = names(page)
    assert chosen == ["square", "wide", "tall", "refusing"]
    page.get_by_label("Order").select_option("time")
    assert names(page) == ["wide", "tall", "square", "refusing"]
    assert page.locator(".lu-table tbody td:first-child").all_inner_texts() == names(page)
    page.click('th[data-key="name"] button')
    assert names(page) == sorted(chosen)
    page.click('th[data-key="outcome"] button')
    expect(page.get_by_label("Order")).to_have_value("other")
    page.get_by_label("Order").select_option("as chosen")
    assert names(page) == chosen

    first = page.locator(".lu-card").first
    first.get_by_role("button", name="Hide square").click()
    assert names(page) == chosen[1:]
    page.get_by_role("button", name="Show 1 hidden").click()
    assert names(page) == chosen

    first.get_by_role("button", name="Move square").press("ArrowRight")
    assert names(page) == ["wide", "square", "tall", "refusing"]
    handle = page.locator(".lu-card", has_text="tall").locator('[data-act="move"]')
    target = page.locator(".lu-card").first.bounding_box()
    assert target is not None
    handle.hover()
    page.mouse.down()
    page.mouse.move(target["x"] + 40, target["y"] + 60, steps=12)
    page.mouse.up()
    assert names(page) == ["tall", "wide", "square", "refusing"]


def test_pictures_of_a_row_share_its_shape_and_fill_it_at_every_density(
    visit: Visit, served: str
) -> None:
    page = visit(served, **WIDE)
    drawn(page)
    for density in ("Medium", "Small", "Large: one a row"):
        page.get_by_role("button", name=density, exact=True).click()
        rows: dict[int, set[int]] = {}
        for top, height in page.evaluate(HEIGHTS):
            rows.setdefault(top, set()).add(height)
        assert all(len(heights) == 1 for heights in rows.values()), rows
        if density != "Large: one a row":
            assert all(share > 0.4 for share in page.evaluate(FILLED))
    assert len(rows) == 4
    page.reload()
    finished(page)
    pressed = page.get_by_role("button", name="Large: one a row", exact=True)
    expect(pressed).to_have_attribute("aria-pressed", "true")


def test_a_phone_has_two_columns_and_time_and_cost_in_sight(visit: Visit, served: str) -> None:
    page = visit(served, **PHONE)
    drawn(page)
    first = page.locator(".lu-card").first
    expect(first).to_be_in_viewport()
    page.get_by_role("button", name="Small", exact=True).click()
    assert (
        len({box["x"] for card in page.locator(".lu-card").all() if (box := card.bounding_box())})
        == 2
    )
    for column in ("drawing", "cost"):
        box = page.locator(f'th[data-key="{column}"]').bounding_box()
        assert box is not None and box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
