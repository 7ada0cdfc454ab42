"""Output of the command line: JSON for programs, tables for people."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from backends.errors import Outcome
from compare.catalogue.listing import Line
from compare.durations import DRAWING, format_left, headline, running, seconds_left
from compare.formatting import format_spent
from compare.prompts.rewrite import Rewritten
from compare.records import Job, Run
from compare.runs import second_step

_COLOURS = {
    Outcome.DONE: "green",
    Outcome.FAILED: "red",
    Outcome.REFUSED: "magenta",
    Outcome.TIMED_OUT: "red",
    Outcome.CANCELLED: "dim",
    Outcome.UNKNOWN: "yellow",
}
_RUN_WIDTHS = {
    "model": 0,
    "outcome": 0,
    "waited": 100,
    "load": 100,
    "drawing": 0,
    "total": 90,
    "cost": 0,
    "picture": 0,
}
"""Minimum width of the terminal for each column of a run's table, whose times are in seconds."""
_WIDTHS = {
    "model": 0,
    "price": 0,
    "now": 0,
    "status": 0,
    "family": 0,
    "seconds": 100,
    "runs at": 120,
    "takes": 160,
    "licence": 200,
}
"""Minimum width of the terminal, in characters, for each column of the models' table."""


class LiveTable:
    """A live table on standard error, one line for each job."""

    def __init__(self, jobs: Sequence[Job], labels: Mapping[str, str]) -> None:
        self._jobs = {job.id: job for job in jobs}
        self._labels = labels
        self._message = ""
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
        """Show a job's new state; without a terminal, print a line for outcomes and commands."""
        before, self._jobs[job.id] = self._jobs[job.id], job
        if self._console.is_terminal:
            return
        if job.outcome is not None:
            typer.echo(f"{self._label(job)}: {job.outcome}. {job.message}".strip(), err=True)
        elif job.command and job.command != before.command:
            typer.echo(f"{self._label(job)}: {_message_of(job)}", err=True)

    def show_message(self, sentence: str) -> None:
        """Show a sentence under the table."""
        self._message = sentence

    def _label(self, job: Job) -> str:
        return self._labels.get(job.id, job.model)

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, caption=self._message)
        for job in self._jobs.values():
            now = datetime.now(UTC)
            spent = headline(job) if job.outcome is not None else running(job, now)
            step = f"{job.step}/{job.steps or '?'}" if job.step is not None else ""
            said = (format_left(seconds_left(job, now)), _message_of(job))
            cells = (str(spent or ""), step, " ".join(filter(None, said)))
            table.add_row(self._label(job), _state(job), *cells)
        return table


def _message_of(job: Job) -> str:
    return f"{job.message} {job.command}".strip()


def rewritten(rewritten: Rewritten) -> None:
    """Print the original and the rewritten prompt to standard error, with the cost."""
    typer.echo(f"The prompt: {rewritten.original}", err=True)
    typer.echo(f"{rewritten.by} ({rewritten.cost}): {rewritten.prompt}", err=True)


def runs(runs: Sequence[Run], home: Path, *, as_json: bool) -> None:
    """Print the results of one run, or of a batch of runs."""
    if as_json:
        listed = [{"run": run.id, **_prompt_fields(run), "jobs": _jobs(run, home)} for run in runs]
        _print_json(listed[0] if len(listed) == 1 else {"runs": listed})
        return
    for number, run in enumerate(runs, start=1):
        if len(runs) > 1:
            Console().print(Text(f"{number}. {run.request.prompt}", style="bold"))
        _table(run, home)


def _prompt_fields(run: Run) -> dict[str, str]:
    """Return the prompt and its provenance if it is not the prompt as typed, else nothing."""
    provenance = dataclasses.asdict(run.spec.provenance)
    known = {name: text for name, text in provenance.items() if text is not None}
    return {"prompt": run.request.prompt, **known} if known else {}


def _jobs(run: Run, home: Path) -> list[dict[str, Any]]:
    return [_job(job, home) for job in run.jobs]


def _table(run: Run, home: Path) -> None:
    console = Console()
    shown = [name for name, least in _RUN_WIDTHS.items() if console.width >= least]
    table = Table(*shown, box=None, padding=(0, 2, 0, 0))
    for job in run.jobs:
        timing, cost = job.timing, format_spent(job.cost)
        waited, load, drawing = map(_seconds, (timing.queued, timing.load, timing.generate))
        total = _seconds(timing.total) + (" (cached)" if timing.cached else "")
        if (parent := second_step.parent_of(job, run.jobs)) is not None and job.pictures:
            spent, both = second_step.chain_totals(parent, job)
            if spent is not None and spent.word == DRAWING:
                drawing += f"\n{spent.seconds:.1f} both"
            elif spent is not None:
                total += f"\n{spent.seconds:.1f} both"
            cost += f"\n{format_spent(both)} both" if both.amount != 0 else ""
        files = "\n".join(str(home / picture.path) for picture in job.pictures)
        told = Text("\n".join(part for part in (files, job.message, *_notes(job)) if part))
        told.overflow = "fold"
        if "total" not in shown and (time := headline(job)) and time.word != DRAWING:
            drawing = f"{time.seconds:.1f} {time.word}"
        times = (waited, load, drawing, total)
        cells = (_model_name(job), _state(job), *times, cost, told)
        row = dict(zip(_RUN_WIDTHS, cells, strict=True))
        table.add_row(*(row[name] for name in shown))
    console.print(table)


def models(lines: Sequence[Line], *, as_json: bool) -> None:
    """Print the catalogue."""
    if as_json:
        rows = [
            {**_to_json(line.model), "ready": _to_json(line.ready), "seconds": line.seconds}
            for line in lines
        ]
        _print_json(rows)
        return
    console = Console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, least in _WIDTHS.items():
        if console.width >= least:
            table.add_column(name, no_wrap=True, overflow="ellipsis")
    for line in lines:
        model, seconds = line.model, _seconds(line.seconds)
        known = (model.id, line.price, line.ready.state, line.status, model.family, seconds)
        cells = (*known, model.provider, line.takes, model.licence)
        table.add_row(*cells[: len(table.columns)])
    console.print(table)


def history(runs: Iterable[Run], home: Path, *, as_json: bool) -> None:
    """Print the latest runs."""
    if as_json:
        rows = [
            {
                "run": run.id,
                "created_at": run.created_at.isoformat(),
                "prompt": run.request.prompt,
                **_prompt_fields(run),
                "jobs": _jobs(run, home),
            }
            for run in runs
        ]
        _print_json(rows)
        return
    table = Table("run", "when", "prompt", "models", box=None, padding=(0, 2, 0, 0))
    for run in runs:
        prompt = Text(run.request.prompt.replace("\n", " "), overflow="ellipsis", no_wrap=True)
        jobs = ", ".join(f"{_model_name(job)} ({job.outcome or job.phase})" for job in run.jobs)
        table.add_row(run.id, f"{run.created_at.astimezone():%Y-%m-%d %H:%M}", prompt, jobs)
    Console().print(table)


def _job(job: Job, home: Path) -> dict[str, Any]:
    kept = ("sha256", "width", "height", "seed")
    return {
        "id": job.id,
        "model": job.model,
        "parent": job.parent,
        "outcome": job.outcome,
        "message": job.message,
        "timing": _to_json(job.timing),
        "cost": _to_json(job.cost),
        "honoured": {
            name: {"asked": each.requested, "used": each.used, "note": each.note}
            for name, each in job.honoured.items()
        },
        "pictures": [
            {"path": str(home / picture.path), **{name: getattr(picture, name) for name in kept}}
            for picture in job.pictures
        ],
    }


def _model_name(job: Job) -> str:
    return job.model if job.parent is None else f"→ {job.model}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


def _state(job: Job) -> Text:
    if job.outcome is None:
        return Text(job.phase, style="cyan")
    return Text(job.outcome, style=_COLOURS[job.outcome])


def _notes(job: Job) -> list[str]:
    return [each.note for each in job.honoured.values() if each.note]


def _to_json(value: Any) -> Any:
    """Convert a record to JSON values: amounts and dates as text, sets as sorted lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _to_json(getattr(value, field.name)) for field in fields}
    match value:
        case Decimal():
            return f"{value:f}"
        case date() | datetime():
            return value.isoformat()
        case Mapping():
            mapping = cast(Mapping[str, Any], value)
            return {str(key): _to_json(item) for key, item in mapping.items()}
        case frozenset():
            return sorted(cast(frozenset[str], value))
        case tuple() | list():
            return [_to_json(item) for item in cast(Sequence[Any], value)]
        case _:
            return value


def _print_json(value: Any) -> None:
    """Print JSON, with escapes if the output's encoding is not a Unicode one."""
    encoding = (sys.stdout.encoding or "").lower()
    typer.echo(json.dumps(value, ensure_ascii=not encoding.startswith("utf"), indent=2))
