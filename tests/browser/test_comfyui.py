"""A ComfyUI server in a real browser: workflows that come and go, a typed checkpoint, the cache."""

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.backends.comfyui.case import keep, nodes, workflow
from tests.browser.conftest import Visit, app, open_setting
from tests.browser.test_compare import WIDE, finished
from tests.servers.comfyui import ComfyUIServer
from tests.servers.comfyui_script import Script


def test_a_workflow_and_a_typed_checkpoint_are_drawn_and_the_cache_is_told(
    visit: Visit, tmp_path: Path
) -> None:
    keep(tmp_path, "mine", workflow(sampler="lineup: seed"))
    with (
        ComfyUIServer(Script(delay=0.5)) as server,
        app(tmp_path, COMFYUI_URL=server.origin) as address,
    ):
        page = visit(address, **WIDE)
        page.click("button.lu-more")
        search = ".lu-panel input[type=search]"
        for first in ("miniature/diffusion", "miniature/masked"):
            page.click(f'.lu-line input[data-id="{first}"]')
        page.click('.lu-line input[data-id="comfyui/mine"]')
        page.fill(search, "comfyui/dreamy_v2")
        page.press(search, "Enter")
        page.click("button.lu-go")
        finished(page)
        assert page.locator(".lu-card.lu-done").count() == 2
        expect(page.locator(".lu-table")).not_to_contain_text("cached")
        before = page.url
        page.click("button.lu-go")
        page.wait_for_url(lambda url: url != before)
        finished(page)
        for card in page.locator(".lu-card").all():
            expect(card).to_contain_text("from the cache")
            expect(card).to_contain_text("the time says nothing about its speed")
            assert card.get_attribute("data-drawing") is None
        assert page.locator(".lu-table tbody .lu-bars:has-text('from the cache')").count() == 2
        assert len(server.jobs) == 4


def tab(page: Page, name: str) -> None:
    """Go to a tab."""
    page.get_by_role("tab", name=name).click()


def test_a_workflow_is_there_without_a_restart_and_gone_when_its_file_is(
    visit: Visit, tmp_path: Path
) -> None:
    with ComfyUIServer() as server, app(tmp_path, COMFYUI_URL=server.origin) as address:
        keep(tmp_path, "before", workflow())
        page = visit(address, **WIDE)
        page.click("button.lu-more")
        expect(page.locator('.lu-line input[data-id="comfyui/before"]')).to_be_visible()
        keep(tmp_path, "mine", workflow(sampler="lineup: seed, steps"))
        keep(tmp_path, "broken", "[")
        tab(page, "Models")
        expect(page.get_by_text("comfyui/mine", exact=True)).to_be_visible()
        tab(page, "Compare")
        for first in ("miniature/diffusion", "miniature/masked"):
            page.click(f'.lu-line input[data-id="{first}"]')
        expect(page.locator(".lu-line").filter(has_text="broken")).to_contain_text("is not JSON")
        page.click('.lu-line input[data-id="comfyui/mine"]')
        open_setting(page, "steps")
        page.get_by_label("Steps", exact=True).fill("3")
        page.click("button.lu-go")
        finished(page)
        expect(page.locator(".lu-card.lu-done")).to_have_count(1)
        assert nodes(server)["KSampler"]["steps"] == 3
        (tmp_path / "workflows" / "mine.json").unlink()
        tab(page, "Models")
        tab(page, "Compare")
        expect(page.locator('.lu-line input[data-id="comfyui/mine"]')).to_have_count(0)
        before = page.url
        page.click("button.lu-go")
        page.wait_for_url(lambda url: url != before)
        finished(page)
        card = page.locator(".lu-card.lu-failed")
        expect(card).to_contain_text("There is no workflow of that name here either.")
        assert len(server.jobs) == 1
