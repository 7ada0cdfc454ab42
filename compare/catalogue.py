"""The catalogue: every model that Lineup knows, from `assets/models.toml`.

Beside the listed ones, any `local/<Hub id, folder or file>` and any `openai/<name>` can be asked
for: they get an entry on the spot, with what is usual for their kind and nothing made up.
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from backends.base import Basis, Model, Price, Sizes, State, Status
from compare.entries import BadEntry, read

DEFAULT_PATH = Path(__file__).parent.parent / "assets" / "models.toml"
SUPPORTABLE = frozenset(
    {"negative_prompt", "seed", "count", "num_inference_steps", "guidance_scale", "control"}
)


class UnknownModel(LookupError):
    """No model has this id; `str(error)` names the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Catalogue:
    """All listed models, in the order in which they are shown."""

    models: tuple[Model, ...]

    def find(self, id: str) -> Model:
        """Return the model called `id`, listed or made on the spot.

        Raises:
            UnknownModel: there is none, and none can be made.
        """
        for model in self.models:
            if model.id == id:
                return model
        match id.partition("/"):
            case ("local", _, source) if source:
                return _any_local(id, source)
            case ("openai", _, name) if name:
                return _any_openai(id, name)
            case _:
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
        raise BadEntry(f"{path.name} cannot be read: {error}") from error
    if set(tables) != {"model"} or not isinstance(tables["model"], list):
        raise BadEntry(f"{path.name} must hold [[model]] tables and nothing else.")
    models = [_entry(table, number) for number, table in enumerate(tables["model"], start=1)]
    seen: set[str] = set()
    for model in models:
        if model.id in seen:
            raise BadEntry(f"{model.id} is listed twice.")
        seen.add(model.id)
    return Catalogue(tuple(models))


def status_on(model: Model, today: date) -> Status:
    """Return where `model` stands on a day: one whose last day has passed is retired."""
    status = model.status
    if status.state is State.RETIRING and status.date is not None and today >= status.date:
        return dataclasses.replace(status, state=State.RETIRED)
    return status


def status_sentence(model: Model, today: date) -> str:
    """Return what to say about a model that is going or gone; empty for a live one."""
    status = status_on(model, today)
    after = f" Use {status.successor} instead." if status.successor else ""
    when = f"{status.date.day} {status.date:%B %Y}" if status.date else ""
    match status.state:
        case State.LIVE:
            return ""
        case State.RETIRING:
            return f"{model.label} will be switched off{f' on {when}' if when else ''}.{after}"
        case State.RETIRED:
            return f"{model.label} was switched off{f' on {when}' if when else ''}.{after}"
        case State.NO_API:
            return f"{model.label} has no public API.{after}"


def _entry(table: Mapping[str, Any], number: int) -> Model:
    where = str(table.get("id") or f"model {number}")
    model = read(Model, table, where)
    if not all(model.id.partition("/")):
        raise BadEntry(f"{where}: an id has the form backend/name.")
    if unknown := sorted(model.supports - SUPPORTABLE):
        raise BadEntry(f"{where}: supports names {', '.join(unknown)}, which no request has.")
    if bool(model.controls) != ("control" in model.supports):
        raise BadEntry(f"{where}: controls and the support for control belong together.")
    if not model.sizes.native:
        raise BadEntry(f"{where}: at least one native size is needed.")
    paid = model.price.basis not in (Basis.FREE, Basis.HARDWARE)
    if paid and not (model.price.source and model.price.priced_on):
        raise BadEntry(f"{where}: a price needs its source and its date (priced_on).")
    gone = model.status.state in (State.RETIRED, State.RETIRING)
    if gone and model.status.date is None:
        raise BadEntry(f"{where}: a model that is going or gone needs the date.")
    return model


def _any_local(id: str, source: str) -> Model:
    return Model(
        id=id,
        label=source.rstrip("/").rpartition("/")[2] or source,
        family="unknown",
        source=source,
        supports=frozenset(SUPPORTABLE - {"control"}),
        sizes=Sizes(native=((512, 512), (768, 768), (1024, 1024))),
        price=Price(basis=Basis.HARDWARE),
        note="Not in the catalogue: loaded as its own files say.",
    )


def _any_openai(id: str, name: str) -> Model:
    return Model(
        id=id,
        label=name,
        family="unknown",
        source=name,
        provider="OpenAI",
        supports=frozenset({"count"}),
        sizes=Sizes(native=((1024, 1024), (1536, 1024), (1024, 1536)), only_native=True),
        price=Price(basis=Basis.USAGE),
        note="Not in the catalogue: its price is not known.",
    )
