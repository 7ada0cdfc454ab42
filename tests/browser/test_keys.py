"""The Keys tab in a real browser: a key for this visit, checked, used, and nowhere afterwards."""

import sqlite3
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit, app
from tests.browser.test_compare import PHONE, WIDE
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script

KEY = "sk-typed-in-the-browser-0001"


def row(page: Page, name: str) -> Locator:
    """The row of a service."""
    title = page.locator(".lu-key-name b").get_by_text(name, exact=True)
    return page.locator(".lu-key-row").filter(has=title)


def keys(page: Page) -> None:
    """Open the tab and wait until it says how things stand."""
    page.get_by_role("tab", name="Keys").click()
    expect(row(page, "OpenAI").locator(".lu-key")).to_be_visible()


def type_key(page: Page, name: str, setting: str, key: str) -> None:
    """Type a key into a row's box and wait until the server has it."""
    row(page, name).get_by_label(setting).fill(key)
    expect(row(page, name)).to_contain_text("Your own key, for this visit.")


def test_a_key_typed_for_this_visit_draws_and_is_found_nowhere(
    visit: Visit, server: OpenAIServer, tmp_path: Path
) -> None:
    server.key, server.usual = KEY, Script(delay=0.1)
    with app(tmp_path, OPENAI_SERVERS=f"mine={server.base_url} gpt-image-2") as address:
        page = visit(address, **WIDE)
        keys(page)
        mine = row(page, "mine")
        mine.get_by_role("button", name="Check").click()
        expect(mine).to_contain_text("does not accept the key: Incorrect API key provided.")
        type_key(page, "mine", "MINE_API_KEY", KEY)
        mine.get_by_role("button", name="Check").click()
        expect(mine).to_contain_text("answers. It has gpt-image-2")
        page.get_by_role("tab", name="Compare").click()
        for _ in range(2):
            page.locator(".lu-chip[data-id]").first.click()
        page.click(".lu-more")
        page.click('.lu-line input[data-id="openai@mine/gpt-image-2"]')
        page.click("button.lu-go")
        expect(page.locator(".lu-card.lu-done")).to_have_count(1, timeout=30_000)
        assert server.generations[0].headers["authorization"] == f"Bearer {KEY}"
        page.reload()
        page.wait_for_selector(".lu-card.lu-done")
        keys(page)
        expect(row(page, "mine").get_by_label("MINE_API_KEY")).to_have_value("")
        expect(row(page, "mine")).not_to_contain_text("Your own key")
        assert KEY not in page.content()
        storage = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
        assert KEY not in storage
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(_is_a_database(file) for file in files)
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


def test_a_typed_key_is_of_one_visitor_alone(visit: Visit, address: str) -> None:
    first = visit(address, **WIDE)
    keys(first)
    type_key(first, "Google", "GOOGLE_API_KEY", "AIzaTypedByTheFirst0001")
    other = visit(address, **WIDE)
    keys(other)
    expect(row(other, "Google")).to_contain_text("Google needs a key")
    keys(first)
    expect(row(first, "Google")).to_contain_text("Your own key, for this visit.")


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["desktop", "phone in the dark"])
def test_every_row_says_how_it_stands_and_fits_the_screen(
    visit: Visit, address: str, screen: dict[str, object]
) -> None:
    page = visit(address, **screen)
    keys(page)
    rows = page.locator(".lu-key-row")
    assert rows.count() >= 7
    for each in rows.all():
        expect(each.locator(".lu-key span")).not_to_be_empty()
        box = each.bounding_box()
        for part in each.locator("input, button, .lu-key, .lu-key-name").all():
            inner = part.bounding_box()
            assert box and inner
            assert inner["x"] >= box["x"] - 1
            assert inner["x"] + inner["width"] <= box["x"] + box["width"] + 1
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.evaluate("window.innerWidth"), "the page scrolls sideways"


def test_a_visitor_of_a_public_address_is_offered_keys_but_no_servers(
    visit: Visit, server: OpenAIServer, tmp_path: Path
) -> None:
    settings = {
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "OPENAI_API_KEY": "sk-the-owners-own-0002",
        "OPENAI_SERVERS": f"keyed={server.base_url}, keyless={server.base_url}",
        "KEYED_API_KEY": "sk-the-owners-own-0003",
        "A1111_URL": "http://127.0.0.1:7861",
    }
    with app(tmp_path, **settings) as address:
        page = visit(address, **WIDE)
        keys(page)
        expect(row(page, "OpenAI")).to_contain_text("OpenAI needs a key")
        expect(row(page, "A1111 server")).to_have_count(0)
        expect(row(page, "keyed")).to_have_count(1)
        expect(row(page, "keyless")).to_have_count(0)
        shown = page.locator(".lu-keys").inner_text()
        assert str(server.port) not in shown and "7861" not in shown
        assert "sk-the-owners" not in page.content()


def _is_a_database(file: Path) -> bool:
    if not file.read_bytes().startswith(b"SQLite format 3"):
        return False
    with sqlite3.connect(file) as store:
        return bool(store.execute("select count(*) from sqlite_master").fetchone()[0])
