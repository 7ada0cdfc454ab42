"""The Models tab shows what is known of each model, and nothing a stranger wrote is markup."""

from dataclasses import replace

from tests.compare.catalogue.test_listing import GONE, LINE, MODEL
from ui.models_tab import render


def test_the_table_shows_what_is_known_and_escapes_it() -> None:
    nasty = replace(LINE, model=replace(MODEL, label="<i>One</i>"))
    shown = render([nasty, GONE])
    assert "&lt;i&gt;One" in shown and "<i>" not in shown
    for words in ("toy/one", "1.2", "control, seed", "an afternoon", "then toy/one", "2 models"):
        assert words in shown, words


def test_a_store_that_cannot_be_opened_is_said() -> None:
    assert "The disk is full." in render([], wrong="The disk is full.")
