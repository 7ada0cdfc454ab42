"""The options of the chosen models alone, with the names that their servers and folders know."""

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import Visit, app, open_setting
from tests.browser.test_compare import PHONE, WIDE, finished
from tests.servers.a1111 import A1111Server


def test_groups_come_and_go_with_the_models_and_offer_what_the_server_has(
    visit: Visit, tmp_path: Path
) -> None:
    (tmp_path / "loras").mkdir()
    for name in ("watercolour", "ink"):
        (tmp_path / "loras" / f"{name}.safetensors").write_bytes(b"")
    with A1111Server() as server, app(tmp_path, A1111_URL=server.origin) as address:
        page = visit(address, **WIDE)
        open_setting(page, "options")
        shown = page.locator(".lu-options:visible h3")
        expect(shown).to_have_count(1)
        page.click(".lu-more")
        page.fill(".lu-panel input[type=search]", "a1111/current")
        page.press(".lu-panel input[type=search]", "Enter")
        page.click(".lu-more")
        expect(shown).to_have_count(2)
        a1111 = page.locator(".lu-options.lu-of-a1111")
        sampler = a1111.locator(".lu-option-sampler_name")
        sampler.get_by_role("button").first.click()
        expect(sampler.locator("textarea, input").first).not_to_have_value("")
        expect(page.locator('[data-panel="options"]')).to_contain_text("1 set")
        loras = page.locator(".lu-of-local .lu-option-loras")
        loras.get_by_role("button", name="watercolour").click()
        loras.get_by_label("Weight of watercolour").fill("0.8")
        loras.get_by_label("Weight of watercolour").press("Tab")
        expect(loras.locator("textarea").first).to_have_value("watercolour:0.8")
        loras.get_by_role("button", name="Leave watercolour out").click()
        for _ in range(2):
            page.locator(".lu-chip[data-id^=miniature]").first.click()
        expect(shown).to_have_count(1)
        page.click("button.lu-go")
        finished(page)
        sent = server.generations[0].json["sampler_name"]
        expect(page.locator(".lu-settings")).to_contain_text(f"sampler {sent}")
        expect(page.locator(".lu-set-options")).to_have_text(f"sampler {sent}")


def test_options_can_be_read_on_a_phone(visit: Visit, address: str) -> None:
    page = visit(address, **PHONE)
    open_setting(page, "options")
    for option in page.locator(".lu-options:visible .lu-option").all():
        box = option.bounding_box()
        assert box is not None and box["width"] > 250 and box["x"] + box["width"] <= 390
