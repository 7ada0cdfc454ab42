"""axe-core finds nothing serious on any tab, in both themes; and all by keyboard alone."""

from collections.abc import Mapping
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, open_setting
from tests.browser.test_compare import WIDE, finished

THEMES = ["light", "dark"]


def serious(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical, with the element of each finding."""
    found: Mapping[str, Any] = Axe().run(page).response
    return [
        f"{rule['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious_on_any_tab(visit: Visit, address: str, theme: str) -> None:
    page = visit(f"{address}/?__theme={theme}", **WIDE)
    page.click(".lu-more")
    page.fill(".lu-panel input[type=search]", "nobody/no-such-model")
    page.press(".lu-panel input[type=search]", "Enter")
    open_setting(page, "options")
    assert serious(page) == []
    page.click(".lu-more")
    page.click("button.lu-go")
    finished(page)
    for name in ("size", "seed", "steps", "negative", "control", "start", "second", "builder"):
        open_setting(page, name)
    assert serious(page) == []
    page.locator(".lu-menu-opener").first.click()
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Look closely").first.click()
    expect(page.locator("dialog.lu-dialog")).to_be_visible()
    assert serious(page) == []
    page.keyboard.press("Escape")
    for tab in ("Models", "Keys"):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        page.wait_for_timeout(300)
        assert serious(page) == []
    assert page.locator("h1").count() == 1


def until(page: Page, selector: str, key: str = "Tab", most: int = 60) -> None:
    """Press a key until an element that fits `selector` has the focus."""
    for _ in range(most):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{selector} can't be reached by {key}")


def test_three_models_are_compared_and_looked_at_closely_by_keyboard_alone(
    visit: Visit, address: str
) -> None:
    page = visit(address, **WIDE)
    page.locator("body").focus()
    until(page, ".lu-prompt textarea")
    until(page, ".lu-more")
    page.keyboard.press("Enter")
    page.keyboard.type("miniature discrete")
    page.keyboard.press("Enter")
    expect(page.locator(".lu-chip[data-id]")).to_have_count(3)
    page.keyboard.press("Escape")
    until(page, '[data-panel="size"]')
    page.keyboard.press("Enter")
    until(page, ".lu-fold-size input")
    page.keyboard.press("Control+A")
    page.keyboard.type("128x128")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(".lu-fold-size ul.options")).to_have_count(0)
    page.locator('[data-panel="seed"]').focus()
    page.keyboard.press("Enter")
    until(page, ".lu-fold-seed input[type=number]")
    page.keyboard.press("Control+A")
    page.keyboard.type("5")
    page.keyboard.press("Escape")
    expect(page.locator(".lu-settings-line")).to_contain_text("Size 128 × 128")
    expect(page.locator(".lu-settings-line")).to_contain_text("Seed 5, locked")
    page.keyboard.press("Control+Enter")
    finished(page)
    expect(page.locator(".lu-card.lu-done")).to_have_count(3)
    until(page, ".lu-pick", most=120)
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    until(page, ".lu-pick")
    page.keyboard.press("Space")
    until(page, '[data-act="closely"]', "Shift+Tab")
    page.keyboard.press("Enter")
    dialog = page.locator("dialog.lu-dialog")
    expect(dialog.locator(".lu-pane")).to_have_count(2)
    before = dialog.locator("output").inner_text()
    page.keyboard.press("+")
    assert dialog.locator("output").inner_text() != before
    until(page, "dialog a[download]")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert "seed5" in download.value.suggested_filename
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
