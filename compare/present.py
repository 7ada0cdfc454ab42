"""How the command line shows things: JSON for programs, tables for people."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from backends.base import Model, Ready, Request
from backends.errors import Outcome
from compare import pricing
from compare.records import Cost, Job, Run
from compare.runner import Runner

_COLOURS = {
    Outcome.DONE: "green",
    Outcome.FAILED: "red",
    Outcome.REFUSED: "magenta",
    Outcome.TIMED_OUT: "red",
    Outcome.CANCELLED: "dim",
    Outcome.UNKNOWN: "yellow",
}


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model as `models` lists it."""

    model: Model
    ready: Ready
    cost: Cost

    @classmethod
    def of(cls, model: Model, runner: Runner) -> Self:
        """Ask the runner about `model`."""
        model = runner.model(model.id)
        cost = runner.estimates(Request(prompt=""), [model.id])[model.id]
        return cls(model, runner.ready(model), cost)


class Board:
    """A live table on standard error: one line for each job."""

    def __init__(self, jobs: Sequence[Job], labels: Mapping[str, str]) -> None:
        self._jobs = {job.id: job for job in jobs}
        self._labels = labels
        self._began = time.monotonic()
        self._said = ""
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=8)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, job: Job) -> None:
        """Take a job's news; without a terminal, only its end is worth a line."""
        self._jobs[job.id] = job
        if not self._console.is_terminal and job.outcome is not None:
            typer.echo(f"{self._label(job)}: {job.outcome}. {job.message}".strip(), err=True)

    def say(self, sentence: str) -> None:
        """Show a line under the table."""
        self._said = sentence

    def _label(self, job: Job) -> str:
        return self._labels.get(job.id, job.model)

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, caption=self._said)
        for job in self._jobs.values():
            spent = job.timing.total or time.monotonic() - self._began
            step = f"{job.step}/{job.steps or '?'}" if job.step is not None else ""
            table.add_row(self._label(job), _state(job), f"{spent:.1f} s", step, job.message)
        return table


def run(run: Run, home: Path, *, as_json: bool) -> None:
    """Print what a run came to."""
    if as_json:
        _print({"run": run.id, "jobs": [_job(job, home) for job in run.jobs]})
        return
    table = Table("model", "outcome", "seconds", "cost", "picture", box=None, padding=(0, 2, 0, 0))
    for job in run.jobs:
        seconds = "" if job.timing.total is None else f"{job.timing.total:.1f}"
        files = "\n".join(str(home / picture.path) for picture in job.pictures)
        told = Text("\n".join(part for part in (files, job.message, *_notes(job)) if part))
        told.overflow = "fold"
        table.add_row(job.model, _state(job), seconds, pricing.in_words(job.cost), told)
    Console().print(table)


def models(rows: Sequence[ModelRow], *, as_json: bool) -> None:
    """Print the catalogue."""
    if as_json:
        _print([{**_plain(row.model), "ready": _plain(row.ready)} for row in rows])
        return
    whole = [Column(name, no_wrap=True) for name in ("model", "price")]
    table = Table(*whole, "now", "status", "family", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        price, ready = pricing.in_words(row.cost), row.ready.state
        table.add_row(row.model.id, price, ready, _status(row), row.model.family)
    Console().print(table)


def history(runs: Iterable[Run], home: Path, *, as_json: bool) -> None:
    """Print the latest runs."""
    if as_json:
        rows = [
            {
                "run": run.id,
                "created_at": run.created_at.isoformat(),
                "prompt": run.request.prompt,
                "jobs": [_job(job, home) for job in run.jobs],
            }
            for run in runs
        ]
        _print(rows)
        return
    table = Table("run", "when", "prompt", "models", box=None, padding=(0, 2, 0, 0))
    for run in runs:
        prompt = Text(run.request.prompt.replace("\n", " "), overflow="ellipsis", no_wrap=True)
        jobs = ", ".join(f"{job.model} ({job.outcome or job.phase})" for job in run.jobs)
        table.add_row(run.id, f"{run.created_at.astimezone():%Y-%m-%d %H:%M}", prompt, jobs)
    Console().print(table)


def _job(job: Job, home: Path) -> dict[str, Any]:
    kept = ("sha256", "width", "height", "seed")
    return {
        "id": job.id,
        "model": job.model,
        "outcome": job.outcome,
        "message": job.message,
        "timing": _plain(job.timing),
        "cost": _plain(job.cost),
        "honoured": _plain(job.honoured),
        "pictures": [
            {"path": str(home / picture.path), **{name: getattr(picture, name) for name in kept}}
            for picture in job.pictures
        ],
    }


def _state(job: Job) -> Text:
    if job.outcome is None:
        return Text(job.phase, style="cyan")
    return Text(job.outcome, style=_COLOURS[job.outcome])


def _notes(job: Job) -> list[str]:
    return [each.note for each in job.honoured.values() if each.note]


def _status(row: ModelRow) -> str:
    status = row.model.status
    return f"{status.state} {status.date}" if status.date else status.state


def _plain(value: Any) -> Any:
    """Return a record as JSON can hold it: amounts and dates as text, sets as sorted lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    match value:
        case Decimal():
            return f"{value:f}"
        case date() | datetime():
            return value.isoformat()
        case Mapping():
            mapping = cast(Mapping[str, Any], value)
            return {str(key): _plain(item) for key, item in mapping.items()}
        case frozenset():
            return sorted(cast(frozenset[str], value))
        case tuple() | list():
            return [_plain(item) for item in cast(Sequence[Any], value)]
        case _:
            return value


def _print(value: Any) -> None:
    """Print JSON; output that cannot hold every letter gets escapes instead."""
    encoding = (sys.stdout.encoding or "").lower()
    typer.echo(json.dumps(value, ensure_ascii=not encoding.startswith("utf"), indent=2))
