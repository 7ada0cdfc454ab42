"""The catalogue of models, from `assets/models.toml`.

Besides the listed models, any `local/<Hub id, folder or file>`, `openai/<name>` and so on can be
used, and `openai@<server>/<name>` on a server of the user: the `[[any]]` tables describe what is
common to their kind, and nothing is guessed.
"""

import dataclasses
import difflib
import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from backends.base import Basis, Model, State, Status
from backends.paths import ASSETS
from compare.catalogue.toml_reader import CatalogueError, parse_table
from compare.formatting import format_date

DEFAULT_PATH = ASSETS / "models.toml"
SUPPORTABLE = frozenset(
    {
        "negative_prompt",
        "seed",
        "count",
        "num_inference_steps",
        "guidance_scale",
        "controls",
        "image",
        "strength",
    }
)


class UnknownModel(LookupError):
    """No model has this id; `str(error)` names the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass
class Catalogue:
    """All listed models, in the order in which they are shown, and templates for unlisted ones.

    The id of each of `others` ends in `*`, which stands for a name; a `*` before the slash stands
    for one of the user's servers. A process has one shared catalogue. Do not hold on to its list
    of models, which `refresh` may replace.
    """

    models: tuple[Model, ...]
    others: tuple[Model, ...] = ()

    async def refresh(self) -> None:
        """Update the models; those of the catalogue's file never change, so this does nothing."""

    def find(self, id: str) -> Model:
        """Return the model called `id`, listed or made from an `[[any]]` table.

        Raises:
            UnknownModel: no model is listed and no `[[any]]` table matches.
        """
        for model in self.models:
            if model.id == id:
                return model
        for kind in self.others:
            if named := _pattern(kind.id).fullmatch(id):
                name = named[1]
                label = name.rstrip("/").rpartition("/")[2] or name
                return dataclasses.replace(kind, id=id, label=label, source=kind.source + name)
        raise UnknownModel(self._not_found(id))

    def _not_found(self, id: str) -> str:
        ids = [model.id for model in self.models]
        near = [known for known in ids if known.endswith(f"/{id}")]
        near = near or difflib.get_close_matches(id, ids, n=3, cutoff=0.5)
        if near:
            return f"There is no model called {id!r}. Did you mean {' or '.join(near)}?"
        return f"There is no model called {id!r}. `python -m compare models` lists them all."


def load(path: Path | None = None) -> Catalogue:
    """Read the catalogue.

    Raises:
        BadEntry: the file is not TOML, or an entry makes no sense; the sentence names it.
    """
    path = path or DEFAULT_PATH
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogueError(f"{path.name} cannot be read: {error}") from error
    if not {"model"} <= set(tables) <= {"model", "any"} or not isinstance(tables["model"], list):
        raise CatalogueError(
            f"{path.name} must hold [[model]] and [[any]] tables and nothing else."
        )
    models = [_entry(table, number) for number, table in enumerate(tables["model"], start=1)]
    seen: set[str] = set()
    for model in models:
        _check(model)
        if model.id in seen:
            raise CatalogueError(f"{model.id} is listed twice.")
        seen.add(model.id)
    others = [_entry(table, number) for number, table in enumerate(tables.get("any", ()), start=1)]
    for kind in others:
        if not kind.id.endswith("*"):
            raise CatalogueError(f"{kind.id}: the id of an [[any]] table ends in *.")
    return Catalogue(tuple(models), tuple(others))


def status_on(model: Model, today: date) -> Status:
    """Return the status of `model` on a day: a retiring one is retired from its date on."""
    status = model.status
    if status.state is State.RETIRING and status.date is not None and today >= status.date:
        return dataclasses.replace(status, state=State.RETIRED)
    return status


def status_sentence(model: Model, today: date) -> str:
    """Return a sentence about a model that is retiring or retired; "" for a live one."""
    status = status_on(model, today)
    after = f" Use {status.successor} instead." if status.successor else ""
    when = format_date(status.date, full_month=True) if status.date else ""
    match status.state:
        case State.LIVE:
            return ""
        case State.RETIRING:
            return f"{model.label} will be switched off{f' on {when}' if when else ''}.{after}"
        case State.RETIRED:
            return f"{model.label} was switched off{f' on {when}' if when else ''}.{after}"
        case State.NO_API:
            here = f" {status.successor} stands in for it here." if status.successor else ""
            return f"{model.label} was never released: no public API, no weights.{here}"


@functools.cache
def _pattern(id: str) -> re.Pattern[str]:
    start = re.escape(id.removesuffix("*")).replace(r"\*", r"[\w-]+")
    return re.compile(f"{start}(.+)", re.ASCII | re.DOTALL)


def _entry(table: Mapping[str, Any], number: int) -> Model:
    where = str(table.get("id") or f"model {number}")
    model = parse_table(Model, table, where)
    if not all(model.id.partition("/")):
        raise CatalogueError(f"{where}: an id has the form backend/name.")
    if unknown := sorted(model.supports - SUPPORTABLE):
        raise CatalogueError(f"{where}: supports names {', '.join(unknown)}, which no request has.")
    if bool(model.controls) != ("controls" in model.supports):
        raise CatalogueError(f"{where}: controls and the support for them belong together.")
    if not model.sizes.native:
        raise CatalogueError(f"{where}: at least one native size is needed.")
    return model


def _check(model: Model) -> None:
    """Check the additional requirements of a listed model."""
    where = model.id
    paid = model.price.basis not in (Basis.FREE, Basis.HARDWARE)
    to_be_had = model.status.state is not State.NO_API
    if paid and to_be_had and not (model.price.source and model.price.priced_on):
        raise CatalogueError(f"{where}: a price needs its source and its date (priced_on).")
    gone = model.status.state in (State.RETIRED, State.RETIRING)
    if gone and model.status.date is None:
        raise CatalogueError(f"{where}: a model that is going or gone needs the date.")
