"""The catalogue in words: the same on the command line, in the Models tab and in the README."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from backends.base import Basis, Model, Readiness, Ready, State, Status
from backends.paths import PROJECT
from backends.registry import create
from compare.catalogue.availability import Availability
from compare.catalogue.listing import Line, lines, markdown
from compare.lineup import build
from compare.records import Cost
from compare.settings import Settings

MODEL = Model(
    id="toy/one",
    label="One",
    family="toy",
    source="one",
    provider="Toys",
    supports=frozenset({"seed", "controls"}),
    training_data="pictures of toys",
    compute="an afternoon",
)
LINE = Line(MODEL, Ready(Readiness.READY), Cost(low=Decimal("0.01"), high=Decimal("0.02")), 1.25)
GONE = replace(
    LINE,
    model=replace(
        MODEL,
        label="Old",
        status=Status(state=State.RETIRED, date=date(2026, 5, 12), successor="toy/one"),
    ),
)


def test_a_line_in_words() -> None:
    assert LINE.takes == "control, seed"
    assert LINE.training == "pictures of toys; an afternoon"
    assert (LINE.status, GONE.status) == ("live", "retired 12 May 2026")
    assert LINE.price == "$0.01–0.02"


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (Cost(low=Decimal("0.01"), high=Decimal("0.02")), "$0.01–0.02"),
        (Cost(low=Decimal(0), high=Decimal(0), basis=Basis.FREE), "free"),
        (Cost(), "unknown"),
    ],
)
def test_a_provider_is_a_row_and_what_is_gone_stands_apart(cost: Cost, words: str) -> None:
    table = markdown([replace(LINE, cost=cost), GONE])
    assert table.splitlines()[2:] == [f"| Toys | One | {words} | Old (12 May 2026) |"]


def test_a_provider_with_nothing_left_has_no_price() -> None:
    assert markdown([GONE]).splitlines()[2:] == ["| Toys | – | – | Old (12 May 2026) |"]


LISTED_ON = date(2026, 12, 1)
"""The day of the README's table: models that are retired later still stand in it as they are."""


async def test_the_readme_holds_the_table() -> None:
    lineup = build(Settings())
    availability = Availability(
        lineup.catalogue, create, lineup.settings, lineup.store, today=lambda: LISTED_ON
    )
    try:
        table = markdown(lines(lineup.catalogue, availability))
    finally:
        await availability.aclose()
        await lineup.aclose()
    readme = (PROJECT / "README.md").read_text("utf-8")
    assert table in readme, "run `python -m compare models --markdown` and put it into the README"


async def test_each_model_of_the_catalogue_has_its_line() -> None:
    lineup = build(Settings())
    try:
        listed = lines(lineup.catalogue, lineup.availability)
    finally:
        await lineup.aclose()
    assert [line.model.id for line in listed] == [model.id for model in lineup.catalogue.models]
    assert all(line.status and line.price for line in listed)
