"""The app as a person meets it: `python app.py` in a process of its own, and a real Chromium."""

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from backends.paths import PROJECT
from tests import app_process
from tests.app_process import serve_checkout
from tests.browser.chromium import ARGUMENTS, find
from tests.canaries import found

Visit = Callable[..., Page]

SHOWN_WITHOUT = ("DISCORD_", "GOOGLE_", "OPENAI_", "A1111_URL", "COMFYUI_URL")
"""What tests type or set by themselves, or show the want of."""
CANARIES = {
    name: value
    for name, value in app_process.CANARIES.items()
    if not name.startswith(SHOWN_WITHOUT)
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark browser tests; they skip with a sentence where no Chromium is, unless required."""
    required = os.environ.get("BROWSER_TESTS") == "required"
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)
            if find() is None and not required:
                reason = "No Chromium is installed here; Debian's package is called chromium."
                item.add_marker(pytest.mark.skip(reason=reason))


def open_setting(page: Page, name: str) -> None:
    """Open the panel of one entry of the line of settings, unless it is open."""
    button = page.locator(f'.lu-settings-line [data-panel="{name}"]')
    if button.get_attribute("aria-expanded") != "true":
        button.click()


@contextmanager
def app(home: Path, root: Path = PROJECT, /, **environment: str) -> Generator[str, None, None]:
    """Serve the app (the one in `root`) with its data in `home`; yield its address."""
    with serve_checkout(root, home, (), {**CANARIES, **environment}) as served:
        yield served.address


@contextmanager
def killed(
    home: Path, **environment: str
) -> Generator[tuple[str, Callable[[], object]], None, None]:
    """Serve the app; yield its address and what kills it on the spot."""
    with serve_checkout(PROJECT, home, (), {**CANARIES, **environment}) as served:
        yield served.address, served.kill


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    """One app for the tests that don't need their own."""
    with app(tmp_path_factory.mktemp("home")) as served:
        yield served


@pytest.fixture(scope="package")
def chromium() -> Generator[Browser, None, None]:
    """One Chromium for all browser tests, closed before any other test of the process starts.

    Playwright's blocking interface keeps an event loop running in the main thread for as long as
    it is open, and a test that is a coroutine can't start its own beside that.
    """
    with sync_playwright() as player:
        expect.set_options(timeout=30_000)  # five seconds are too few beside other busy processes
        browser = player.chromium.launch(executable_path=find(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Generator[Visit, None, None]:
    """Open a page as a fresh visitor; fails on any error in its console and any canary in it."""
    faults: list[str] = []
    pages: list[Page] = []

    with ExitStack() as stack:

        def opened(url: str, **options: Any) -> Page:
            # Without a GPU, an animation keeps a core busy.
            context = chromium.new_context(reduced_motion="reduce", **options)
            stack.callback(context.close)
            page = context.new_page()
            pages.append(page)
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.goto(url)
            page.wait_for_selector(".lu-sum b, .lu-sum .lu-bad")
            return page

        yield opened
        assert not any(found(page.content().encode()) for page in pages if not page.is_closed())
    assert not faults, faults
