"""The board of one run as HTML: cards and table rows, rendered here, put in place by board.js.

Pure: a `Run` or a `Job` goes in, text comes out. Jinja escapes everything that a person or a
service wrote.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import gradio as gr
from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup

from backends.base import Model, Request
from compare.catalogue import Catalogue, UnknownModel
from compare.pricing import in_words
from compare.records import Job, Phase, Run, SavedPicture
from ui.theme import ASSETS, asset

COLUMNS = (
    ("Model", "Which model"),
    ("Outcome", "How it ended"),
    ("Queued", "Seconds in a queue: ours, or the service's"),
    ("Load", "Seconds until the weights were in memory"),
    ("First look", "Seconds from the start of the work to the first preview or picture"),
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
PHASES = {
    Phase.QUEUED: "Waiting for its turn",
    Phase.LOADING: "Loading",
    Phase.SENT: "Sent",
    Phase.GENERATING: "Drawing",
    Phase.ENDED: "Done",
}


def component() -> gr.HTML:
    """Return the component that shows one run; its value is what `Renderer.board` returns."""
    return gr.HTML("", js_on_load=asset("board.js"), apply_default_css=False)


class Renderer:
    """Turns runs and jobs into HTML, with the catalogue's words for the models."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        environment = Environment(
            loader=FileSystemLoader(ASSETS), autoescape=select_autoescape(), trim_blocks=False
        )
        environment.globals.update(dict[str, Any](url=url, filename=filename, seconds=seconds))
        self._board = environment.get_template("board.html")
        self._card = environment.get_template("card.html")
        self._row = environment.get_template("row.html")

    def board(self, run: Run) -> str:
        """Return the whole board: the newest job of each model as a card, every job as a row."""
        newest = {job.model: job for job in run.jobs}
        return self._board.render(
            run=run,
            settings=settings_in_words(run.request),
            ended=all(job.outcome is not None for job in run.jobs),
            cards=[Markup(self.card(run, job)) for job in newest.values()],
            rows=[Markup(self.row(run, job)) for job in run.jobs],
            columns=COLUMNS,
        )

    def update(self, run: Run, job: Job) -> Mapping[str, str]:
        """Return what board.js needs to put one job's card and row in place."""
        return {
            "card_id": _card_id(job),
            "card": self.card(run, job),
            "row_id": _row_id(job),
            "row": self.row(run, job),
        }

    def card(self, run: Run, job: Job) -> str:
        """Return one model's card."""
        notes = [honour.note for honour in job.honoured.values() if honour.note]
        width, height = run.request.width, run.request.height
        first = job.pictures[0] if job.pictures else None
        shape = f"{first.width} / {first.height}" if first else f"{width or 1} / {height or 1}"
        return self._card.render(
            self._words(job),
            slot=_card_id(job),
            prompt=run.request.prompt,
            shape=shape if len(job.pictures) < 2 else "1",
            preview=_data_uri(job),
            fraction=job.step / job.steps if job.step is not None and job.steps else None,
            seed=first.seed if first else None,
            notes=notes,
        )

    def row(self, run: Run, job: Job) -> str:
        """Return one job's row of the table."""
        tries = [other.id for other in run.jobs if other.model == job.model]
        attempt = tries.index(job.id) + 1 if job.id in tries else len(tries) + 1
        return self._row.render(self._words(job), slot=_row_id(job), attempt=attempt)

    def model(self, job: Job) -> Model:
        """Return the catalogue's entry, or a bare one where the catalogue has changed since."""
        try:
            return self._catalogue.find(job.model)
        except UnknownModel:
            return Model(id=job.model, label=job.model, family="", source="", provider="")

    def _words(self, job: Job) -> dict[str, Any]:
        ended = job.outcome is not None
        return {
            "job": job,
            "model": self.model(job),
            "look": (job.outcome or "running").replace(" ", "-"),
            "title": TITLES[job.outcome] if job.outcome is not None else PHASES[job.phase],
            "elapsed": max(0.0, (datetime.now(UTC) - job.created_at).total_seconds()),
            "amount": job.cost.amount if ended else None,
            "cost": in_words(job.cost),
            "basis": _basis(job),
        }


def settings_in_words(request: Request) -> str:
    """Return the settings that differ from the models' own, in one line."""
    words: list[str] = []
    if request.width and request.height:
        words.append(f"{request.width}×{request.height}")
    named: Sequence[tuple[str, object]] = (
        ("seed", request.seed),
        ("steps", request.num_inference_steps),
        ("guidance", request.guidance_scale),
        ("without", request.negative_prompt or None),
        ("control", request.control.preprocessor if request.control else None),
    )
    words += [f"{name} {value}" for name, value in named if value is not None]
    if request.count > 1:
        words.append(f"{request.count} pictures each")
    return " · ".join(words)


def url(picture: SavedPicture) -> str:
    """Return the picture's address, relative to the page, so that any proxy's prefix works."""
    suffix = picture.path.rpartition(".")[2]
    return f"lineup/pictures/{picture.sha256}.{suffix}"


def filename(picture: SavedPicture) -> str:
    """Return the name under which a browser saves the picture."""
    seed = f"-seed{picture.seed}" if picture.seed is not None else ""
    return f"lineup{seed}-{picture.sha256[:8]}.{picture.path.rpartition('.')[2]}"


def seconds(value: float | None) -> str:
    """Return seconds as a person reads them; a dash where they are not known."""
    if value is None:
        return "–"
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def _basis(job: Job) -> str:
    if job.cost.basis is None:
        return "–"
    return "this machine" if job.cost.basis in ("free", "hardware") else job.cost.basis.value


def _data_uri(job: Job) -> str:
    if job.preview is None:
        return ""
    data = base64.b64encode(job.preview.data).decode("ascii")
    return f"data:{job.preview.media_type};base64,{data}"


def _card_id(job: Job) -> str:
    return f"card {job.model}".replace(" ", ":")


def _row_id(job: Job) -> str:
    return f"row:{job.id}"
