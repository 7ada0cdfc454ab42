"""The board of one run as HTML: cards and table rows, rendered here, put in place by board.js.

Pure: a `Run` or a `Job` goes in, text comes out. Jinja escapes everything that a person or a
service wrote.
"""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import gradio as gr
from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup

from backends.base import Model
from compare.catalogue.catalogue import Catalogue, UnknownModel
from compare.formatting import format_cost, format_seconds
from compare.records import Job, Phase, Run, RunSpec, SavedPicture
from compare.runs.second_step import chain_totals, parent_of
from ui.board.variants import entries
from ui.theme import PAGE_FILES, asset

COLUMNS = (
    ("Model", "Which model"),
    ("Outcome", "How it ended"),
    ("Queued", "Seconds in a queue: ours, or the service's"),
    ("Load", "Seconds until the weights were in memory"),
    (
        "First look",
        "Seconds from the start of the work to the first preview; most models send none",
    ),
    ("Total", "Seconds from the click to the last byte on disk"),
    ("Cost", "In US dollars"),
    ("Basis", "What the cost rests on"),
)
TITLES = {
    "done": "Done",
    "failed": "Not drawn",
    "refused": "Refused by moderation",
    "timed out": "Timed out",
    "cancelled": "Stopped",
    "unknown": "No answer: it may have been billed",
}
NOT_BEGUN = "Not begun"
PHASES = {
    Phase.WAITING: "Waits for the first step",
    Phase.QUEUED: "Waiting for its turn",
    Phase.LOADING: "Loading",
    Phase.SENT: "Sent",
    Phase.GENERATING: "Drawing",
    Phase.ENDED: "Done",
}

# Once it is answered, "Try again" can be pressed again: a refusal leaves the card as it was.
ANSWERED = """() => document.querySelectorAll('.lu-card [data-act="retry"]').forEach((button) => {
  button.disabled = false;
})"""


def component() -> gr.HTML:
    """Return the component that shows one run; its value is what `Renderer.board` returns."""
    return gr.HTML("", js_on_load=asset("table.js") + asset("board.js"), apply_default_css=False)


class Renderer:
    """Turns runs and jobs into HTML, with the catalogue's words for the models."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        environment = Environment(
            loader=FileSystemLoader(PAGE_FILES), autoescape=select_autoescape(), trim_blocks=False
        )
        environment.globals.update(
            dict[str, Any](url=url, filename=filename, seconds=format_seconds)
        )
        self._board = environment.get_template("board.html")
        self._card = environment.get_template("card.html")
        self._row = environment.get_template("row.html")

    def board(self, run: Run, batch: Sequence[Run] = ()) -> str:
        """Return the whole board: the newest job of each model as a card, every job as a row.

        `batch` are the runs that were started together with this one; a strip shows them.
        """
        newest = {_card_id(run, job): job for job in run.jobs}
        chains: dict[str, list[Markup]] = {}
        for job in newest.values():
            first = parent_of(job, run.jobs) or job
            chains.setdefault(first.model, []).append(Markup(self.card(run, job)))
        return self._board.render(
            run=run,
            strip=entries(batch),
            settings=settings_in_words(run.spec, self._named),
            ended=all(job.outcome is not None for job in run.jobs),
            chains=list(chains.values()),
            rows=[Markup(self.row(run, job)) for job in run.jobs],
            columns=COLUMNS,
        )

    def update(self, run: Run, job: Job) -> Mapping[str, str]:
        """Return what board.js needs to put one job's card and row in place."""
        return {
            "card_id": _card_id(run, job),
            "card": self.card(run, job),
            "row_id": _row_id(job),
            "row": self.row(run, job),
        }

    def card(self, run: Run, job: Job) -> str:
        """Return one model's card."""
        notes = [honour.note for honour in job.honoured.values() if honour.note]
        width, height = run.request.width, run.request.height
        first = job.pictures[0] if job.pictures else None
        parent = parent_of(job, run.jobs)
        known = first or (parent.pictures[0] if parent and parent.pictures else None)
        wide, high = (known.width, known.height) if known else (width or 1, height or 1)
        across, down = _cells(run, job, parent)
        then = run.spec.second_step
        return self._card.render(
            self._words(run, job),
            slot=_card_id(run, job),
            prompt=then.prompt or run.request.prompt if parent and then else run.request.prompt,
            shape=f"{wide * across} / {high * down}",
            cells=(across, down),
            preview=_data_uri(job),
            fraction=job.step / job.steps if job.step is not None and job.steps else None,
            seed=first.seed if first else None,
            notes=notes,
            whole=_whole(parent, job),
        )

    def row(self, run: Run, job: Job) -> str:
        """Return one job's row of the table."""
        card = _card_id(run, job)
        tries = [other.id for other in run.jobs if _card_id(run, other) == card]
        attempt = tries.index(job.id) + 1 if job.id in tries else len(tries) + 1
        return self._row.render(self._words(run, job), slot=_row_id(job), attempt=attempt)

    def model(self, job: Job) -> Model:
        """Return the catalogue's entry, or a bare one where the catalogue has changed since."""
        try:
            return self._catalogue.find(job.model)
        except UnknownModel:
            return Model(id=job.model, label=job.model, family="", source="", provider="")

    def _named(self, model_id: str) -> str:
        try:
            return self._catalogue.find(model_id).label
        except UnknownModel:
            return model_id

    def _words(self, run: Run, job: Job) -> dict[str, Any]:
        ended, parent = job.outcome is not None, parent_of(job, run.jobs)
        begun = parent is None or bool(parent.pictures) or not ended
        return {
            "job": job,
            "model": self.model(job),
            "parent": None if parent is None else self.model(parent),
            "waiting": job.phase is Phase.WAITING,
            "begun": begun,
            "look": (job.outcome or "running").replace(" ", "-"),
            "title": _title(job) if begun else NOT_BEGUN,
            "elapsed": max(0.0, (datetime.now(UTC) - job.created_at).total_seconds()),
            "amount": job.cost.amount if ended else None,
            "cost": format_cost(job.cost),
            "basis": _basis(job),
        }


def settings_in_words(spec: RunSpec, named: Callable[[str], str] = str) -> str:
    """Return the settings that differ from the models' own, in one line.

    `named` returns what a model is called.
    """
    request, words = spec.request, list[str]()
    if request.width and request.height:
        words.append(f"{request.width}×{request.height}")
    settings: Sequence[tuple[str, object]] = (
        ("seed", request.seed),
        ("steps", request.num_inference_steps),
        ("guidance", request.guidance_scale),
        ("without", request.negative_prompt or None),
        ("control", " + ".join(each.preprocessor for each in request.controls) or None),
    )
    words += [f"{name} {value}" for name, value in settings if value is not None]
    if request.count > 1:
        words.append(f"{request.count} pictures each")
    if request.image is not None:
        words.append("from a start picture")
    if (then := spec.second_step) is not None:
        strength = "" if then.strength is None else f" at strength {then.strength:g}"
        prompt = f": “{then.prompt}”" if then.prompt else ""
        words.append(f"then {named(then.model)}{strength}{prompt}")
    return " · ".join(words)


def url(picture: SavedPicture) -> str:
    """Return the picture's address, relative to the page, so that any proxy's prefix works."""
    suffix = picture.path.rpartition(".")[2]
    return f"lineup/pictures/{picture.sha256}.{suffix}"


def filename(picture: SavedPicture) -> str:
    """Return the name under which a browser saves the picture."""
    seed = f"-seed{picture.seed}" if picture.seed is not None else ""
    return f"lineup{seed}-{picture.sha256[:8]}.{picture.path.rpartition('.')[2]}"


def _cells(run: Run, job: Job, parent: Job | None) -> tuple[int, int]:
    """Return how many pictures stand side by side, and how many rows they make.

    Those that are still to come have their place already.
    """
    awaited = run.request.count if job.outcome is None and parent is None else 1
    number = max(len(job.pictures), awaited if job.pictures else 1)
    across = math.ceil(math.sqrt(number))
    return across, math.ceil(number / across)


def _title(job: Job) -> str:
    if job.outcome is not None:
        return TITLES[job.outcome]
    return "Waiting for you" if job.command else PHASES[job.phase]


def _basis(job: Job) -> str:
    basis = job.cost.basis
    if basis in ("free", "hardware"):
        return "this machine"
    return "–" if basis is None or job.cost.amount == 0 else basis.value


def _data_uri(job: Job) -> str:
    if job.preview is None:
        return ""
    data = base64.b64encode(job.preview.data).decode("ascii")
    return f"data:{job.preview.media_type};base64,{data}"


def _whole(parent: Job | None, job: Job) -> str:
    """Return what both steps took and cost together, where both have drawn."""
    if parent is None or not parent.pictures or not job.pictures or job.outcome is None:
        return ""
    time, cost = chain_totals(parent, job)
    return f"{format_seconds(time)} · {format_cost(cost)}"


def _card_id(run: Run, job: Job) -> str:
    """One card for each model, and one for the second step after each."""
    parent = parent_of(job, run.jobs)
    after = "" if parent is None else f" after {parent.model}"
    return f"card {job.model}{after}".replace(" ", ":")


def _row_id(job: Job) -> str:
    return f"row:{job.id}"
