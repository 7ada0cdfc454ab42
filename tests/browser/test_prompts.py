"""Variants, the rewrite and the builder in a real browser."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, app, open_setting
from tests.browser.test_compare import DRAWN, PHONE, WIDE, finished, pictures, press_compare
from tests.servers.chat import REWRITTEN, ChatServer

TWO = "a {red|blue} star on a white background"
SAID = ".block.lu-said"
ALL_ENDED = "!document.querySelector('.lu-strip [data-look=running]')"
TYPE_AND_RUN = """([box, words]) => {
  box.value = words;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, bubbles: true }));
}"""


def write(page: Page, words: str) -> None:
    """Type a prompt."""
    page.locator(".lu-prompt textarea").fill(words)


def test_words_that_a_chosen_model_does_not_read_are_named_while_typing(
    visit: Visit, address: str
) -> None:
    page = visit(address, **WIDE)
    said = page.locator(SAID)
    write(page, f"(a red star:1.3) {'left of a blue ring, ' * 8}at dusk")
    expect(said.locator(".lu-hint")).to_have_count(2)
    expect(said).to_contain_text(
        "Miniature diffusion and Miniature masked tokens read 30 tokens of a prompt; this one has"
    )
    expect(said).to_contain_text(
        "“(a red star:1.3)”: plain words to Miniature diffusion and Miniature masked tokens."
    )
    assert page.locator(".lu-said .lu-bad").count() == 0
    write(page, "a red star")
    expect(said.locator(".lu-hint")).to_have_count(0)


def test_each_variant_is_a_run_with_its_own_link(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    write(page, TWO)
    expect(page.locator(SAID)).to_contain_text("2 variants × 2 models · all free")
    press_compare(page)
    strip = page.locator(".lu-strip button")
    expect(strip).to_have_text(["red", "blue"])
    expect(page.locator(".lu-run q")).to_have_text("a red star on a white background")
    page.wait_for_function(ALL_ENDED, timeout=DRAWN)
    red, red_link = pictures(page), page.url
    strip.nth(1).click()
    expect(page.locator(".lu-run q")).to_have_text("a blue star on a white background")
    expect(strip.nth(1)).to_have_attribute("aria-current", "true")
    blue = pictures(page)
    assert page.url != red_link
    assert len(red) == len(blue) == 2 and not set(red) & set(blue)
    again = visit(page.url, **PHONE)
    finished(again)
    assert pictures(again) == blue
    expect(again.locator(".lu-strip button")).to_have_text(["red", "blue"])
    expect(again.locator(".lu-prompt textarea")).to_have_value("a blue star on a white background")
    again.locator(".lu-strip button").first.click()
    expect(again.locator(".lu-run q")).to_have_text("a red star on a white background")
    assert pictures(again) == red


def test_nobody_starts_several_runs_without_having_been_told(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    box = page.locator(".lu-prompt textarea").element_handle()
    page.evaluate(TYPE_AND_RUN, [box, TWO])
    expect(page.locator(f"{SAID} .lu-bad")).to_contain_text("2 variants: press Compare again")
    expect(page.locator(SAID)).to_contain_text("2 variants × 2 models")
    page.wait_for_timeout(1_000)  # the page counts variants a moment after they are typed
    expect(page.locator(f"{SAID} .lu-bad")).to_contain_text("2 variants: press Compare again")
    assert page.locator(".lu-card").count() == 0


def test_a_few_at_random_and_none_at_all_are_a_choice(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    write(page, "a {red|blue|green|pink} {star|ring} on a {white|black} background")
    expect(page.locator(".lu-several")).to_contain_text("16 variants")
    page.get_by_text("some at random").click()
    expect(page.locator(SAID)).to_contain_text("4 variants × 2 models")
    page.get_by_text("as it is written").click()
    expect(page.locator(SAID)).to_contain_text("2 models · all free")
    expect(page.locator(SAID)).not_to_contain_text("variants")
    press_compare(page)
    expect(page.locator(".lu-strip")).to_have_count(0)
    expect(page.locator(".lu-run q")).to_contain_text("{red|blue|green|pink}")
    write(page, "a plain star")
    expect(page.locator(".lu-several")).to_have_count(0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("a __unheard_of__ star", "no wildcard __unheard_of__"),
        ("{a|b|c}{a|b|c}{a|b|c} star", "27 variants; 24 is the most"),
    ],
)
def test_variants_that_cannot_be_are_told_before_anything_runs(
    visit: Visit, address: str, words: str, sentence: str
) -> None:
    page = visit(address, **WIDE)
    write(page, words)
    expect(page.locator(f"{SAID} .lu-bad")).to_contain_text(sentence)
    page.click("button.lu-go")
    expect(page.locator(f"{SAID} .lu-bad")).to_contain_text(sentence)
    assert page.locator(".lu-card").count() == 0
    page.get_by_text("as it is written").click()
    expect(page.locator(SAID)).to_contain_text("2 models · all free")


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["desktop", "phone in the dark"])
def test_the_builder_fills_the_prompt_and_what_should_not_be_there(
    visit: Visit, address: str, screen: dict[str, object]
) -> None:
    page = visit(address, **screen)
    expect(page.get_by_label("Subject")).not_to_be_visible()
    open_setting(page, "builder")
    page.get_by_role("combobox", name="Lighting").click()
    expect(page.get_by_role("option").first).to_be_visible()  # by now the boxes listen
    for label, words in (("Lighting", "moonlight"), ("Without", "no people, fog")):
        box = page.get_by_role("combobox", name=label)
        box.fill(words)
        box.press("Enter")
    page.get_by_label("Subject").fill("a lighthouse, ")
    made = page.locator(".lu-builder textarea").nth(1)
    expect(made).to_have_value("a lighthouse, moonlight\nWithout: people, fog")
    page.get_by_role("button", name="Use this prompt").click()
    expect(page.locator(".lu-prompt textarea")).to_have_value("a lighthouse, moonlight")
    expect(page.get_by_label("Negative prompt")).to_have_value("people, fog")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.evaluate("window.innerWidth"), "the page scrolls sideways"


def test_a_rewrite_stands_beside_the_prompt_and_is_kept_with_the_run(
    visit: Visit, tmp_path: Path
) -> None:
    key = "AIzaSyVerySecretIndeed1234"
    with (
        ChatServer() as chat,
        app(tmp_path, GOOGLE_BASE_URL=chat.origin, GOOGLE_API_KEY=key) as address,
    ):
        page = visit(address, **WIDE)
        write(page, "a star")
        page.get_by_role("button", name="Rewrite", exact=True).click()
        expect(page.get_by_label("Your prompt")).to_have_value("a star")
        expect(page.locator(".lu-rewrite")).to_contain_text("What it costs is unknown")
        assert chat.requests == [], "nothing is asked before a person says so"
        page.get_by_role("button", name="Rewrite it").click()
        expect(page.get_by_label("Rewritten")).to_have_value(REWRITTEN)
        expect(page.locator(".lu-rewrite")).to_contain_text("231 tokens, cost unknown")
        expect(page.locator(".lu-prompt textarea")).to_have_value("a star")
        page.get_by_label("Rewritten").fill(f"{REWRITTEN}, at night")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator(".lu-prompt textarea")).to_have_value(f"{REWRITTEN}, at night")
        press_compare(page)
        expect(page.locator(".lu-run")).to_contain_text("rewritten by google:gemini-3.5-flash")
        again = visit(page.url, **WIDE)
        expect(again.locator(".lu-run")).to_contain_text("from “a star”")
        again.get_by_role("button", name="Rewrite", exact=True).click()
        expect(again.get_by_label("Your prompt")).to_have_value("a star")
        expect(again.get_by_label("Rewritten")).to_have_value(f"{REWRITTEN}, at night")
        again.get_by_role("button", name="Keep mine").click()
        expect(again.locator(".lu-prompt textarea")).to_have_value("a star")
        expect(again.get_by_text("Rewrite shows both")).to_have_count(0)
        assert len(chat.requests) == 1
