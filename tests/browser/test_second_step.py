"""The second step in a real browser: chosen without code, shown beside the first, restored."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, open_setting
from tests.browser.test_compare import PHONE, WIDE, finished, pictures

PROMPT = "a green star left of a yellow ring on a white background"


def choose(page: Page) -> None:
    """Open the panel and ask for a second step of the diffusion miniature."""
    open_setting(page, "second")
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name="Miniature diffusion").click()
    page.get_by_label("Its prompt").fill(PROMPT)
    expect(page.locator(".block.lu-said")).to_contain_text("each then Miniature diffusion")


def test_a_second_step_goes_on_from_each_picture_and_comes_back_with_the_link(
    visit: Visit, address: str
) -> None:
    page = visit(address, **WIDE)
    choose(page)
    page.click("button.lu-go")
    finished(page)
    chains = page.locator(".lu-chain")
    assert chains.count() == 2
    for chain, first in zip(chains.all(), ("Miniature diffusion", "Miniature masked"), strict=True):
        assert chain.locator(".lu-card.lu-done").count() == 2
        before, after = chain.locator(".lu-card").all()
        expect(before.locator(".lu-name")).to_contain_text(first)
        expect(after).to_contain_text(re.compile(rf"from {first}"))
        expect(after).to_contain_text(re.compile(r"both steps\s+\d+\.?\d* s drawing · free"))
    expect(page.locator(".lu-table")).to_contain_text("second step, from Miniature masked")
    seen = pictures(page)
    assert len(set(seen)) == 4
    # In full size, the arrow goes from before to after.
    page.locator(".lu-chain a[data-act=full]").first.click()
    large = page.locator(".lu-pane img")
    expect(large).to_have_attribute("src", re.compile(seen[0]))
    page.keyboard.press("ArrowRight")
    expect(large).to_have_attribute("src", re.compile(seen[1]))
    again = visit(page.url, **PHONE)
    finished(again)
    assert pictures(again) == seen
    open_setting(again, "second")
    expect(again.get_by_label("Its prompt")).to_have_value(PROMPT)
    width = again.evaluate("document.documentElement.scrollWidth")
    assert width <= again.evaluate("window.innerWidth"), "the page scrolls sideways"
