"""The strip above a board: what tells the variants apart, and how each stands."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backends.base import Request
from backends.errors import Outcome
from compare.catalogue import catalogue
from compare.records import Job, Provenance, Run, RunSpec
from ui.board.renderer import Renderer
from ui.board.variants import differing, entries

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def run(number: int, prompt: str, *outcomes: Outcome | None) -> Run:
    id = f"0123456789abcdefv{number}"
    jobs = tuple(
        Job(id=f"{id}-{at}", run_id=id, model=f"local/{at}", created_at=NOW, outcome=outcome)
        for at, outcome in enumerate(outcomes)
    )
    return Run(id=id, created_at=NOW, spec=RunSpec(Request(prompt=prompt)), jobs=jobs)


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        (["a red star", "a blue star"], ["red", "blue"]),
        (["a star", "a big star"], ["–", "big"]),
        (["a red star at dawn", "a blue star at dusk"], ["red star at dawn", "blue star at dusk"]),
        (["red red", "red"], ["red", "–"]),
        (["红星", "蓝星"], ["红星", "蓝星"]),
    ],
)
def test_a_variant_is_called_by_what_the_others_do_not_have(
    prompts: list[str], words: list[str]
) -> None:
    assert differing(prompts) == words


def test_each_variant_says_how_it_stands() -> None:
    batch = [
        run(1, "a", Outcome.DONE, Outcome.DONE),
        run(2, "b", Outcome.DONE, None),
        run(3, "c", Outcome.DONE, Outcome.REFUSED),
    ]
    assert [entry.look for entry in entries(batch)] == ["done", "running", "failed"]


def test_a_run_on_its_own_has_no_strip() -> None:
    alone = run(1, "a star", Outcome.DONE)
    assert entries([alone]) == []
    assert "lu-strip" not in Renderer(catalogue.load()).board(alone, [alone])


def test_the_board_shows_the_strip_and_marks_the_variant_that_is_shown() -> None:
    batch = [run(1, "a <b>red</b> star", None), run(2, "a blue star", None)]
    page = Renderer(catalogue.load()).board(batch[1], batch)
    strip = page[page.index("lu-strip") : page.index("</nav>")]
    assert "&lt;b&gt;red&lt;/b&gt;" in strip and "<b>" not in strip
    first, second = strip.split("<button")[1:]
    assert batch[0].id in first and "aria-current" not in first
    assert batch[1].id in second and "aria-current" in second


def test_the_board_of_a_rewritten_prompt_shows_both_prompts() -> None:
    made = run(1, "a fine star", Outcome.DONE)
    provenance = Provenance(original_prompt='a "<b>star', rewritten_by="google:g")
    spec = replace(made.spec, provenance=provenance)
    page = Renderer(catalogue.load()).board(replace(made, spec=spec))
    assert "a fine star" in page
    assert "rewritten by google:g from “a &#34;&lt;b&gt;star”" in page
    assert "rewritten by" not in Renderer(catalogue.load()).board(made)
