"""The catalogue as text: one line for each model.

Source of the Models tab, of `python -m compare models` and of the README's table.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backends.base import Model, Ready, Request, State
from compare.catalogue.availability import Availability
from compare.catalogue.catalogue import Catalogue
from compare.formatting import format_cost, format_date, format_status
from compare.records import Cost

_SHORT = {
    "controls": "control",
    "image": "start picture",
    "seed": "seed",
    "negative_prompt": "negative prompt",
    "count": "several at once",
}
_SECTION = "| Who runs it | Models | A picture costs | Gone |\n|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Line:
    """A model, its readiness, and the expected cost and time of a picture.

    `seconds` is the median of this machine's own runs, None without runs.
    """

    model: Model
    ready: Ready
    cost: Cost
    seconds: float | None

    @property
    def price(self) -> str:
        """The cost of one picture at the model's default settings."""
        if self.model.status.state is State.NO_API:
            return "–"
        return format_cost(self.cost)

    @property
    def status(self) -> str:
        """The state of the model with its date, such as "retired 12 May 2026"."""
        return format_status(self.model.status)

    @property
    def takes(self) -> str:
        """The inputs besides the prompt that it supports, of those in which models differ."""
        return ", ".join(word for name, word in _SHORT.items() if name in self.model.supports)

    @property
    def training(self) -> str:
        """Training data and compute, as far as published."""
        known = (self.model.training_data, self.model.compute)
        return "; ".join(each for each in known if each)


def lines(catalogue: Catalogue, availability: Availability) -> list[Line]:
    """Return a line for each model of the catalogue, in its order."""
    models = [availability.model(model.id) for model in catalogue.models]
    costs = availability.estimates(Request(prompt=""), [model.id for model in models])
    return [
        Line(
            model,
            availability.ready(model),
            costs[model.id],
            availability.typical_seconds(model.id),
        )
        for model in models
    ]


def markdown(lines: Iterable[Line]) -> str:
    """Return the README's table: a row for each provider with models, prices, retired models."""
    providers: dict[str, list[Line]] = {}
    for line in lines:
        providers.setdefault(line.model.provider, []).append(line)
    rows = [_row(provider, listed) for provider, listed in providers.items()]
    return _SECTION + "\n".join(rows) + "\n"


def _row(provider: str, listed: Sequence[Line]) -> str:
    here = [line for line in listed if line.model.status.state in (State.LIVE, State.RETIRING)]
    gone = [_retired_label(line.model) for line in listed if line not in here]
    lows = [line.cost.low for line in here if line.cost.low is not None]
    highs = [line.cost.high for line in here if line.cost.high is not None]
    price = "unknown"
    if lows and highs:
        whole = Cost(low=min(lows), high=max(highs))
        price = format_cost(whole) if whole.high else "free"
    named = ", ".join(line.model.label for line in here)
    return f"| {provider} | {named or '–'} | {price if here else '–'} | {', '.join(gone) or '–'} |"


def _retired_label(model: Model) -> str:
    status = model.status
    since = format_date(status.date) if status.date else status.state
    return f"{model.label} ({since})"
