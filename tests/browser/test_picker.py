"""The model picker: filters, sets, the keyboard, ids that are typed, and the way to a key."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.test_compare import WIDE, finished

SAID = ".block.lu-said"


def search(page: Page, words: str) -> None:
    """Type into the picker's search box."""
    page.fill(".lu-panel input[type=search]", words)


def chips(page: Page) -> list[str]:
    """Return the ids of the chosen models."""
    found = page.locator(".lu-chip[data-id]").all()
    return [chip.get_attribute("data-id") or "" for chip in found]


def test_the_keyboard_alone_chooses_models(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    page.locator(".lu-more").press("Enter")
    focused = page.locator("*:focus")
    expect(focused).to_have_attribute("type", "search")
    page.keyboard.type("miniature discrete")
    page.keyboard.press("Enter")  # the only hit
    assert chips(page) == ["miniature/diffusion", "miniature/masked", "miniature/discrete"]
    expect(focused).to_have_attribute("type", "search")
    search(page, "miniature")
    page.keyboard.press("ArrowDown")
    expect(focused).to_have_attribute("data-id", "miniature/diffusion")
    page.keyboard.press("Space")
    assert chips(page) == ["miniature/masked", "miniature/discrete"]
    expect(focused).to_have_attribute("data-id", "miniature/diffusion")
    page.keyboard.press("Escape")
    expect(page.locator(".lu-panel")).to_have_count(0)
    expect(focused).to_have_text("+ models")
    page.locator(".lu-chip[data-id]").first.press("Enter")
    assert chips(page) == ["miniature/discrete"]
    expect(focused).to_have_attribute("data-id", "miniature/discrete")


def test_filters_and_sets(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    page.click(".lu-more")
    first = page.locator(".lu-line").first
    expect(first).to_have_class("lu-line lu-is-ready")
    page.get_by_role("button", name="Ready", exact=True).click()
    every = page.locator(".lu-line")
    assert every.count() == page.locator(".lu-line.lu-is-ready").count() > 0
    page.get_by_role("button", name="Takes control").click()
    expect(every.locator('input[data-id="miniature/diffusion"]')).to_be_visible()
    expect(every.locator('input[data-id="miniature/masked"]')).to_have_count(0)
    page.get_by_role("button", name="Clear all").click()
    assert chips(page) == []
    expect(page.locator(SAID)).to_contain_text("No model is chosen")
    page.get_by_role("button", name="All miniatures").click()
    assert len(chips(page)) == 5
    page.once("dialog", lambda dialog: dialog.accept("my <five>"))
    page.get_by_role("button", name="Save as set …").click()
    page.get_by_role("button", name="Clear all").click()
    page.reload()
    page.wait_for_selector(".lu-sum b")
    page.click(".lu-more")
    page.get_by_role("button", name="my <five>", exact=True).click()
    assert len(chips(page)) == 5
    page.get_by_role("button", name="Forget the set my <five>").click()
    expect(page.get_by_role("button", name="my <five>", exact=True)).to_have_count(0)


def test_a_model_without_a_key_is_counted_apart_and_leads_to_its_field(
    visit: Visit, address: str
) -> None:
    page = visit(address, **WIDE)
    page.click(".lu-more")
    page.click('.lu-line input[data-id="openai/gpt-image-2"]')
    expect(page.locator(SAID)).to_contain_text("2 models")
    expect(page.locator(SAID)).to_contain_text("1 cannot draw: 1 needs a key")
    for _ in range(2):
        page.locator(".lu-chip[data-id^=miniature]").first.click()
    page.click("button.lu-go")
    finished(page)
    card = page.locator(".lu-card.lu-failed")
    card.get_by_role("button", name="Open Keys").click()
    focused = page.locator("*:focus")
    expect(focused).to_have_attribute("type", "password")
    expect(page.locator(".lu-key-row", has=focused)).to_contain_text("OPENAI_API_KEY")
    focused.fill("sk-typed-never-real")
    page.get_by_role("tab", name="Compare").click()
    expect(card.get_by_role("button", name="Open Keys")).to_be_hidden()
    expect(page.locator(SAID)).not_to_contain_text("needs a key")


def test_a_typed_id_keeps_its_prefix_and_is_looked_at_before_it_counts(
    visit: Visit, address: str
) -> None:
    page = visit(address, **WIDE)
    page.click(".lu-more")
    page.get_by_role("button", name="Clear all").click()
    looks = {
        "huggingface/nobody/made-up": ("huggingface/nobody/made-up", "unchecked"),
        "nobody/made-up": ("local/nobody/made-up", "not-available"),
        "openai@nowhere/x": ("openai@nowhere/x", "not-available"),
    }
    for typed, (id, look) in looks.items():
        search(page, typed)
        page.press(".lu-panel input[type=search]", "Enter")
        chip = page.locator(f'.lu-chip[data-id="{id}"]')
        expect(chip).to_have_class(f"lu-chip lu-is-{look}")
        assert len(chip.get_attribute("title") or "") > 40
    expect(page.locator(SAID)).to_contain_text("2 cannot draw: 2 are not available")


def test_the_models_tab_adds_to_the_comparison(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    page.get_by_role("tab", name="Models").click()
    add = page.locator('[data-act="add"][data-id="miniature/cascade"]')
    add.click()
    expect(add).to_have_text("Added")
    page.locator('[data-act="add"][data-id="miniature/masked"]').click()
    expect(page.locator('[data-act="add"][data-id="miniature/masked"]')).to_have_text(
        "Is chosen already"
    )
    page.get_by_role("tab", name="Compare").click()
    assert chips(page)[-1] == "miniature/cascade"
    expect(page.locator(SAID)).to_contain_text("3 models")
