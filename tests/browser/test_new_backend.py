"""A backend that was added as backends/README.md says works in the page as it is."""

from pathlib import Path

from playwright.sync_api import expect

from tests.backends.toy import grow
from tests.browser.conftest import Visit, app, open_setting
from tests.browser.test_compare import WIDE, finished


def test_the_form_the_cards_and_the_table_know_it(visit: Visit, tmp_path: Path) -> None:
    with app(tmp_path / "home", grow(tmp_path / "grown")) as address:
        page = visit(address, **WIDE)
        for _ in range(2):
            page.locator(".lu-chip[data-id]").first.click()
        page.click(".lu-more")
        page.click('.lu-line input[data-id="squares/one"]')
        page.click(".lu-more")
        expect(page.locator(".block.lu-said")).to_contain_text("1 model")
        open_setting(page, "options")
        page.get_by_label("Pause").fill("0.05")
        page.click("button.lu-go")
        finished(page)
        card = page.locator(".lu-card.lu-done")
        expect(card).to_have_count(1)
        expect(card).to_contain_text("Squares")
        expect(card.locator(".lu-pics img").first).to_be_visible()
        page.get_by_role("tab", name="Models").click()
        row = page.locator(".lu-catalogue tbody tr", has_text="squares/one")
        expect(row).to_contain_text("toy")
        expect(row).to_contain_text("free")
