"""`kill -9` on the app while paid jobs run: started again, each job stands as it truly is."""

from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, app, killed
from tests.servers.openai import OpenAIServer, Script

MODELS = ("gpt-image-2", "gpt-image-2.6-flare", "gpt-image-2.6-sunburst")


def choose(page: Page, *models: str) -> None:
    """Choose these models of OpenAI's and nothing else."""
    for chosen in page.locator(".lu-chip[data-id]").evaluate_all(
        "all => all.map(c => c.dataset.id)"
    ):
        page.click(f'.lu-chip[data-id="{chosen}"]')
    page.click(".lu-more")
    for model in models:
        page.click(f'.lu-line input[data-id="openai/{model}"]')
    page.click(".lu-more")
    expect(page.locator(".block.lu-said")).to_contain_text(f"{len(models)} model")


def test_after_kill_9_every_job_stands_as_it_is_and_nothing_is_sent_again(
    visit: Visit, server: OpenAIServer, tmp_path: Path
) -> None:
    quick, slow = Script(delay=0.1), Script(delay=60)
    server.usual = slow
    server.models = {MODELS[0]: quick}
    service = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "sk-test-never-real"}
    with killed(tmp_path, **service) as (address, kill):
        page = visit(address)
        choose(page, *MODELS)
        page.click("button.lu-go")
        expect(page.locator(".lu-card.lu-done")).to_have_count(1, timeout=30_000)
        expect(page.locator(".lu-running.lu-card")).to_have_count(2)
        link = page.url.partition("?")[2]
        kill()
    sent = len(server.generations)
    assert sent == 3
    server.usual = replace(slow, delay=0)
    with app(tmp_path, **service) as address:
        page = visit(f"{address}?{link}")
        expect(page.locator(".lu-card.lu-done")).to_have_count(1)
        expect(page.locator(".lu-card.lu-done img")).to_be_visible()
        expect(page.locator(".lu-card.lu-unknown")).to_have_count(2)
        expect(page.locator(".lu-card.lu-unknown").first).to_contain_text("may have been billed")
    assert len(server.generations) == sent
