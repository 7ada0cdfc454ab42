"""Render the board of one run as HTML: cards and table rows, which board.js puts in place.

Pure functions from a `Run` or a `Job` to text. Jinja escapes everything that a user or a service
wrote.
"""

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import gradio as gr
from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup

from backends.base import Model, Preview
from backends.registry import BACKENDS, backend_class
from compare.catalogue.catalogue import Catalogue, UnknownModel
from compare.durations import (
    ACTIVITIES,
    comparable_seconds,
    details,
    format_left,
    headline,
    running,
    seconds_left,
)
from compare.formatting import format_cost, format_spent
from compare.records import Job, Phase, Run, RunSpec, SavedPicture
from compare.runs.second_step import chain_totals
from ui.board import table
from ui.board.options import format_options, set_options
from ui.board.pictures import entries as entries_of_pictures
from ui.board.table import Cell, time_cells
from ui.board.variants import entries
from ui.page_files import FOLDER, script

TITLES = {
    "done": "Done",
    "failed": "Not drawn",
    "refused": "Refused by moderation",
    "timed out": "Timed out",
    "cancelled": "Stopped",
    "unknown": "No answer: it may have been billed",
}
NOT_STARTED = "Not begun"
PHASES = {
    Phase.WAITING: "Waits for the first step",
    Phase.QUEUED: "Waiting for its turn",
    Phase.LOADING: "Loading",
    Phase.SENT: "Sent",
    Phase.GENERATING: "Drawing",
    Phase.ENDED: "Done",
}

EVENTS = ("retry", "again", "seed", "more", "variant", "halt")
"""The events that board.js triggers."""

CHAPTERS: Final[Mapping[str, str]] = {
    "miniature/diffusion": "5. A U-Net, its skips, and how words get in",
    "miniature/masked": "6. Transformers over tokens: all at once, or one after the other",
    "miniature/discrete": "6. Transformers over tokens: all at once, or one after the other",
    "miniature/autoregressive": "6. Transformers over tokens: all at once, or one after the other",
    "miniature/cascade": "8. Five ways to the same picture",
}
"""The chapter about each miniature in notebooks/how_the_families_work.ipynb."""

# Enables "Try again" once a retry is answered: a refused one leaves the card as it was.
ON_RETRIED = """() => document.querySelectorAll('.lu-card [data-act="retry"]').forEach((button) => {
  button.disabled = false;
})"""


def component() -> gr.HTML:
    """Return the component that shows one run; its value is the HTML of `Renderer.board`."""
    return gr.HTML("", js_on_load=script("board.js", events=EVENTS), apply_default_css=False)


class Renderer:
    """Renders runs and jobs as HTML, with the models' labels from the catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        environment = Environment(
            loader=FileSystemLoader(FOLDER), autoescape=select_autoescape(), trim_blocks=False
        )
        helpers = dict[str, Any](url=url, filename=filename, format_left=format_left)
        environment.globals.update(helpers)
        self._board = environment.get_template("board.html")
        self._card = environment.get_template("card.html")
        self._row = environment.get_template("row.html")

    def board(self, run: Run, batch: Sequence[Run] = (), *, mine: bool = True) -> str:
        """Return the whole board: the newest job of each model as a card, every job as a row.

        `batch` are the runs that were started together, this one included; a strip shows them.
        Without `mine` the buttons that change the run are hidden: the visitor may only look.
        """
        jobs = _Jobs(run)
        newest = {jobs.card_id(job): job for job in run.jobs}
        chains: dict[str, list[Markup]] = {}
        for job in newest.values():
            first = jobs.parent(job) or job
            chains.setdefault(first.model, []).append(Markup(self.card(run, job, jobs)))
        return self._board.render(
            run=run,
            mine=mine,
            variants=entries(batch),
            settings=" · ".join(filter(None, self._settings(run))),
            ended=all(job.outcome is not None for job in run.jobs),
            chains=list(chains.values()),
            rows=[Markup(self.row(run, job, jobs)) for job in run.jobs],
            columns=table.COLUMNS,
        )

    def _settings(self, run: Run) -> tuple[str, str]:
        models = [self.model(job) for job in run.jobs]
        backends = {model.backend: backend_label(model.backend) for model in models}
        return format_settings(run.spec, self._label), format_options(run.spec, backends)

    def update(self, run: Run, job: Job) -> Mapping[str, str]:
        """Return the card and the row of one job, with the ids of the elements they replace."""
        jobs = _Jobs(run)
        return {
            "card_id": jobs.card_id(job),
            "card": self.card(run, job, jobs),
            "row_id": _row_id(job),
            "row": self.row(run, job, jobs),
        }

    def card(self, run: Run, job: Job, jobs: "_Jobs | None" = None) -> str:
        """Return one model's card; `jobs` saves looking through the run's jobs again."""
        jobs = jobs or _Jobs(run)
        notes = [applied.note for applied in job.honoured.values() if applied.note]
        first = job.pictures[0] if job.pictures else None
        parent = jobs.parent(job)
        sized = first or (parent.pictures[0] if parent and parent.pictures else None)
        width = sized.width if sized else run.request.width or 1
        height = sized.height if sized else run.request.height or 1
        columns, rows = _grid(run, job, parent)
        then = run.spec.second_step
        return self._card.render(
            self._variables(job, parent),
            element_id=jobs.card_id(job),
            prompt=then.prompt or run.request.prompt if parent and then else run.request.prompt,
            shape=f"{width * columns / (height * rows):.4f}",
            grid=(columns, rows),
            preview=data_uri(job.preview) if job.preview else "",
            fraction=min(1, job.step / job.steps) if job.step is not None and job.steps else None,
            seed=first.seed if first else None,
            chapter=CHAPTERS.get(job.model, ""),
            options=set_options(run.spec, self.model(job).backend, second=parent is not None),
            notes=notes,
            both_steps=_both_steps(parent, job),
            compared=comparable_seconds(job, run.request.count),
        )

    def row(self, run: Run, job: Job, jobs: "_Jobs | None" = None) -> str:
        """Return one job's row of the table; `jobs` as in `card`."""
        jobs = jobs or _Jobs(run)
        parent, attempt, now = jobs.parent(job), jobs.attempt(job), datetime.now(UTC)
        variables = self._variables(job, parent)
        notes = [] if parent is None else [f"second step, from {self.model(parent).label}"]
        notes += [f"try {attempt}"] if attempt > 1 else []
        label, title, amount = self.model(job).label, variables["title"], variables["amount"]
        cells = {
            "name": Cell(text=label, value=label, notes=tuple(notes)),
            "outcome": Cell(text=title.lower(), value=title),
            **time_cells(job, run.request.count, now),
            "cost": Cell(text=variables["cost"], value="" if amount is None else amount),
            "basis": Cell(text=variables["basis"], value=variables["basis"]),
        }
        return self._row.render(
            element_id=_row_id(job),
            state=variables["state"],
            cells=[(column.key, cells[column.key]) for column in table.COLUMNS],
        )

    def pictures(self, run: Run) -> list[dict[str, Any]]:
        """Return the pictures of a run with their settings, as plain data."""
        return entries_of_pictures(run, self.model, url, filename)

    def model(self, job: Job) -> Model:
        """Return a job's model, or one with only an id if the catalogue no longer has it."""
        try:
            return self._catalogue.find(job.model)
        except UnknownModel:
            return Model(id=job.model, label=job.model, family="", source="", provider="")

    def _label(self, model_id: str) -> str:
        try:
            return self._catalogue.find(model_id).label
        except UnknownModel:
            return model_id

    def _variables(self, job: Job, parent: Job | None) -> dict[str, Any]:
        """Return the template variables that a job's card and row share."""
        now, ended = datetime.now(UTC), job.outcome is not None
        started = parent is None or bool(parent.pictures) or not ended
        return {
            "job": job,
            "model": self.model(job),
            "parent": None if parent is None else self.model(parent),
            "waiting": job.phase is Phase.WAITING,
            "started": started,
            "state": (job.outcome or "running").replace(" ", "-"),
            "title": _title(job) if started else NOT_STARTED,
            "time": headline(job) if ended else running(job, now),
            "activity": ACTIVITIES.get(job.phase, ""),
            "rest": details(job),
            "left": seconds_left(job, now),
            "amount": job.cost.amount if ended else None,
            "cost": format_spent(job.cost) if ended else format_cost(job.cost),
            "basis": _basis(job),
        }


class _Jobs:
    """What the board looks up among the jobs of a run: built once, in time linear in them."""

    def __init__(self, run: Run) -> None:
        self._by_id = {job.id: job for job in run.jobs}
        self._counts: dict[str, int] = {}
        self._attempts: dict[str, int] = {}
        for job in run.jobs:
            self._attempts[job.id] = self._counts[self.card_id(job)] = self.attempt(job)

    def parent(self, job: Job) -> Job | None:
        """Return the first step of a second step, None for a first step."""
        return None if job.parent is None else self._by_id.get(job.parent)

    def card_id(self, job: Job) -> str:
        """Return the id of a job's card: one per model, and one per second step after each."""
        parent = self.parent(job)
        after = "" if parent is None else f" after {parent.model}"
        return f"card {job.model}{after}".replace(" ", ":")

    def attempt(self, job: Job) -> int:
        """Return which attempt of its card a job is, from 1; a job that is not listed is next."""
        return self._attempts.get(job.id) or self._counts.get(self.card_id(job), 0) + 1


def backend_label(name: str) -> str:
    """Return what a backend is called on the page."""
    return backend_class(name).label if name in BACKENDS else name


def format_settings(spec: RunSpec, label: Callable[[str], str] = str) -> str:
    """Return the settings that differ from the models' defaults, in one line.

    `label` returns the label of a model by its id.
    """
    request, parts = spec.request, list[str]()
    if request.width and request.height:
        parts.append(f"{request.width}×{request.height}")
    settings: Sequence[tuple[str, object]] = (
        ("seed", request.seed),
        ("steps", request.num_inference_steps),
        ("guidance", request.guidance_scale),
        ("without", request.negative_prompt or None),
        ("control", " + ".join(each.preprocessor for each in request.controls) or None),
    )
    parts += [f"{name} {value}" for name, value in settings if value is not None]
    if request.count > 1:
        parts.append(f"{request.count} pictures each")
    if request.image is not None:
        parts.append("from a start picture")
    if (then := spec.second_step) is not None:
        strength = "" if then.strength is None else f" at strength {then.strength:g}"
        prompt = f": “{then.prompt}”" if then.prompt else ""
        parts.append(f"then {label(then.model)}{strength}{prompt}")
    return " · ".join(parts)


def url(picture: SavedPicture) -> str:
    """Return the picture's URL, relative to the page so that it works behind a proxy's prefix."""
    suffix = picture.path.rpartition(".")[2]
    return f"lineup/pictures/{picture.sha256}.{suffix}"


def filename(picture: SavedPicture, model: Model) -> str:
    """Return the name under which a browser saves the picture: it says who has drawn it."""
    words = re.sub(r"[^\w.]+", "-", model.label).strip("-.")[:60] or "lineup"
    seed = f"-seed{picture.seed}" if picture.seed is not None else ""
    return f"{words}{seed}-{picture.sha256[:8]}.{picture.path.rpartition('.')[2]}"


def _grid(run: Run, job: Job, parent: Job | None) -> tuple[int, int]:
    """Return the columns and rows of a card's pictures, expected ones included.

    Once the first picture is there, the grid has cells for all of them, so that it keeps its shape.
    """
    expected = run.request.count if job.outcome is None and parent is None else 1
    count = max(len(job.pictures), expected if job.pictures else 1)
    columns = math.ceil(math.sqrt(count))
    return columns, math.ceil(count / columns)


def _title(job: Job) -> str:
    if job.outcome is not None:
        return TITLES[job.outcome]
    return "Waiting for you" if job.command else PHASES[job.phase]


def _basis(job: Job) -> str:
    basis = job.cost.basis
    if basis in ("free", "hardware"):
        return "this machine"
    return "–" if basis is None or job.cost.amount == 0 else basis.value


def data_uri(preview: Preview) -> str:
    """Return a preview as an address that holds it."""
    data = base64.b64encode(preview.data).decode("ascii")
    return f"data:{preview.media_type};base64,{data}"


def _both_steps(parent: Job | None, job: Job) -> str:
    """Return the time and cost of both steps together, "" unless both have pictures."""
    if parent is None or not parent.pictures or not job.pictures or job.outcome is None:
        return ""
    time, cost = chain_totals(parent, job)
    return f"{time or '–'} · {format_spent(cost)}"


def _row_id(job: Job) -> str:
    return f"row:{job.id}"
