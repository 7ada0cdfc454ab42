"""The runs of a visit: the strip, Back and Forward, the title, Stop and "Stop all"."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, open_setting
from tests.browser.test_compare import WIDE, press_compare

LONG = "500"


def shown(page: Page) -> str:
    """Return the id of the run on the board, "" if there is none."""
    board = page.locator(".lu-board")
    return (board.get_attribute("data-run") or "") if board.count() else ""


def start(page: Page, prompt: str) -> str:
    """Press Compare with a prompt; return the id of the run that is then shown."""
    before = shown(page)
    page.locator(".lu-prompt textarea").fill(prompt)
    page.click("button.lu-go")
    page.wait_for_function(
        "before => (document.querySelector('.lu-board')?.dataset.run ?? before) !== before",
        arg=before,
    )
    return shown(page)


def test_a_second_run_does_not_lose_the_first_and_back_and_forward_go_through_them(
    visit: Visit, address: str
) -> None:
    page = visit(address, **WIDE)
    page.locator(".lu-prompt textarea").fill("a red star on a white background")
    press_compare(page)
    first = shown(page)
    expect(page).to_have_title("2 of 2 done · Lineup")
    expect(page.locator("p[role=status]")).to_contain_text("2 of 2 done")
    expect(page.locator(".lu-runs")).to_be_hidden()
    page.locator(".lu-prompt textarea").fill("a blue ring on a white background")
    press_compare(page)
    page.wait_for_selector(f'.lu-board[data-ended="yes"]:not([data-run="{first}"])')
    second = shown(page)
    runs = page.locator(".lu-runs button")
    expect(runs).to_have_count(2)
    expect(runs.first).to_have_attribute("data-run", second)
    expect(runs.first).to_have_attribute("aria-current", "true")
    expect(runs.last).to_contain_text("a red star")
    runs.last.click()
    page.wait_for_selector(f'.lu-board[data-run="{first}"]')
    page.go_back()
    page.wait_for_selector(f'.lu-board[data-run="{second}"]')
    page.go_back()
    page.wait_for_selector(f'.lu-board[data-run="{first}"]')
    page.go_back()
    expect(page.locator(".lu-board")).to_have_count(0)
    page.go_forward()
    page.wait_for_selector(f'.lu-board[data-run="{first}"]')
    page.reload()
    expect(page.locator(".lu-runs button")).to_have_count(2)


def test_stop_ends_what_is_shown_and_stop_all_ends_every_run(visit: Visit, address: str) -> None:
    page = visit(address, **WIDE)
    open_setting(page, "steps")
    page.get_by_label("Steps", exact=True).fill(LONG)
    first = start(page, "a red star")
    expect(page).to_have_title("0 of 2 done · Lineup")
    second = start(page, "a blue ring")
    third = start(page, "a green square")
    strip = page.locator(".lu-runs")
    expect(strip.locator('[data-look="running"]')).to_have_count(3)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.wait_for_selector(f'.lu-board[data-run="{third}"][data-ended="yes"]')
    expect(strip.locator('[data-look="running"]')).to_have_count(2)
    page.get_by_role("button", name="Stop all").click()
    expect(strip.locator('[data-look="running"]')).to_have_count(0)
    expect(page.get_by_role("button", name="Stop all")).to_be_hidden()
    strip.locator(f'[data-run="{first}"]').click()
    expect(page.locator(f'.lu-board[data-run="{first}"] .lu-cancelled')).to_have_count(2)
    assert len({first, second, third}) == 3


def test_the_form_is_remembered_presets_come_back_and_reset_forgets(
    visit: Visit, address: str
) -> None:
    page = visit(address, **WIDE)
    prompt = page.locator(".lu-prompt textarea")
    prompt.fill("a green square")
    page.locator(".lu-chip[data-id]").last.click()
    open_setting(page, "steps")
    page.get_by_label("Steps", exact=True).fill("7")
    open_setting(page, "seed")
    page.get_by_label("Keep it for the next run").uncheck()
    steps = page.locator('[data-panel="steps"]')
    expect(steps).to_contain_text("7")
    open_setting(page, "presets")
    page.locator(".lu-presets input").fill("squares")
    page.get_by_role("button", name="Save preset").click()
    page.reload()
    page.wait_for_selector(".lu-sum b")
    expect(prompt).to_have_value("a green square")
    expect(page.locator(".lu-chip[data-id]")).to_have_count(1)
    expect(steps).to_contain_text("7")
    expect(page.locator('[data-panel="seed"]')).to_contain_text("new each time")
    expect(page.locator(".block.lu-said")).to_contain_text("1 model · all free")
    open_setting(page, "presets")
    page.get_by_role("button", name="Reset the form").click()
    expect(prompt).to_have_value("a red star left of a blue ring on a white background")
    expect(page.locator(".lu-chip[data-id]")).to_have_count(2)
    expect(steps).to_contain_text("model's own")
    page.get_by_role("button", name="squares", exact=True).click()
    expect(prompt).to_have_value("a green square")
    expect(steps).to_contain_text("7")
    page.get_by_role("button", name="Forget the preset squares").click()
    expect(page.get_by_role("button", name="squares", exact=True)).to_have_count(0)
