"""The table of the board: its columns in their order, and the cells of one job's row.

Pure. A cell's `value` is what the column is sorted by; one with `elapsed` seconds goes on
ticking in the browser.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from compare.durations import CACHED, DRAWING, comparable_seconds, running
from compare.formatting import format_seconds
from compare.records import Job


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the key of its cells, its heading, and the sentence that explains it."""

    key: str
    title: str
    hint: str


COLUMNS = (
    Column("name", "Model", "Which model"),
    Column("outcome", "Outcome", "How it ended"),
    Column("waited", "Waited", "Seconds in a queue, ours or the service's, or for you"),
    Column("load", "Load", "Seconds until it could draw: libraries, weights, the request"),
    Column("look", "First look", "Seconds of drawing up to the first preview; most send none"),
    Column("drawing", "Drawing", "Seconds of drawing alone: what models are compared by"),
    Column("total", "Total", "Seconds from the click to the last byte on disk"),
    Column("cost", "Cost", "In US dollars"),
    Column("basis", "Basis", "What the cost rests on"),
)
"""The columns in their order, which headings, rows and sorting follow."""

_TICKING = {"waiting": "waited", "loading": "load", DRAWING: "drawing"}
"""The column in which the seconds of a phase under way tick, by its word."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell; with `bar` its value is drawn as a bar too, beside those of the other rows."""

    text: str
    value: object = ""
    notes: tuple[str, ...] = ()
    elapsed: float | None = None
    bar: bool = False


def time_cells(job: Job, count: int, now: datetime) -> dict[str, Cell]:
    """Return the cells of a job's times; `count` is how many pictures were asked for."""
    timing, present = job.timing, running(job, now)
    cells = {
        "waited": _seconds(timing.queued),
        "load": _seconds(timing.load),
        "look": _seconds(timing.first_preview),
        "drawing": Cell(text=format_seconds(timing.generate)),
        "total": _seconds(timing.total, format_seconds),
    }
    if comparable_seconds(job, count) is not None:
        cells["drawing"] = Cell(text=cells["drawing"].text, value=timing.generate, bar=True)
    if timing.cached:
        cells["drawing"] = Cell(text=CACHED)
    if present is not None:
        bar = present.word == DRAWING and job.parent is None
        if (column := _TICKING.get(present.word)) is not None:
            cells[column] = _ticking(present.seconds, bar=bar)
        cells["total"] = _ticking(max(0.0, (now - job.created_at).total_seconds()))
    return cells


def _seconds(seconds: float | None, words: Callable[[float], str] = "{:.1f}".format) -> Cell:
    return Cell(text="–") if seconds is None else Cell(text=words(seconds), value=seconds)


def _ticking(seconds: float, *, bar: bool = False) -> Cell:
    return Cell(text=f"{seconds:.1f} s…", value=seconds, elapsed=seconds, bar=bar)
