"""The line below the form: the run's estimated cost, or the sentences that say what is wrong.

Pure functions from costs and sentences to HTML; what users and services wrote is escaped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from markupsafe import Markup, escape

from backends.base import Basis, Readiness
from compare.formatting import format_cost, format_dollars
from compare.pricing import total
from compare.records import Cost


@dataclass(frozen=True, slots=True)
class Unable:
    """The chosen models that cannot draw: how many in each state, and whose key is missing first.

    `service` is the name of `Model.service`, "" if no key is missing.
    """

    states: Mapping[Readiness, int] = field(default_factory=dict[Readiness, int])
    service: str = ""


NOBODY: Final = Unable()
_OPEN_KEYS: Final = Markup(
    ' <button type="button" data-act="keys" data-service="{}">Open Keys</button>'
)
_LACKS: Final[Mapping[Readiness, tuple[str, str]]] = {
    Readiness.NEEDS_KEY: ("needs a key", "need a key"),
    Readiness.NEEDS_PACKAGE: ("is not installed", "are not installed"),
    Readiness.UNAVAILABLE: ("is not available", "are not available"),
}
"""What one model, and what several, lack in each state in which they cannot draw."""


def estimate(
    costs: Mapping[str, Cost],
    *variants: Mapping[str, Cost],
    second: tuple[str, Cost] | None = None,
    unable: Unable = NOBODY,
    today: str = "",
) -> str:
    """Return "5 models, about $0.06–0.07 before you start · 2 free" as HTML.

    Args:
        costs: the expected cost of each chosen model.
        variants: the costs of the prompt's other variants, each drawn by the same models.
        second: the second step that follows each picture: its model's label, and its cost each
            time.
        unable: the chosen models that cannot draw; `costs` has only those that can.
        today: what has been spent today, for the end of the line.
    """
    left = _unable(unable, bool(costs))
    if not costs:
        none = Markup("<b>No model is chosen.</b> Press “+ models” to choose some.")
        return str(left[0] if left else none)
    runs = 1 + len(variants)
    jobs = [cost for each in (costs, *variants) for cost in each.values()]
    jobs += [second[1]] * len(jobs) if second else []
    sums, steps = total(jobs), len(jobs) // runs
    # How many steps are free or of unknown price is said per run, not for all variants together.
    sums = replace(sums, free=sums.free // runs, unknown=sums.unknown // runs)
    priced = steps - sums.free - sums.unknown
    models = f"{len(costs)} model" + ("s" if len(costs) != 1 else "")
    models = f"{runs} variants × {models}" if variants else models
    models += f", each then {second[0]}" if second else ""
    parts = [Markup("<b>{}</b>").format(models)]
    if priced:
        amount = format_cost(Cost(low=sums.low, high=sums.high))
        parts[0] += Markup(", about <b>{}</b> before you start").format(amount)
    if sums.free:
        parts.append(escape("all free" if sums.free == steps else f"{sums.free} free"))
    if sums.unknown:
        parts.append(Markup("<b>{} of unknown price</b>").format(sums.unknown))
    return str(Markup(" · ").join([*parts, *left, *filter(None, [escape(today)])]))


def today(spent: Decimal, limit: Decimal, *, public: bool) -> str:
    """Return what a daily budget says beside the estimate.

    Visitors of a public address learn what is left of it, and not what others have spent.
    """
    if public:
        return f"{format_dollars(max(limit - spent, Decimal(0)))} of today's budget is left"
    return f"today so far {format_dollars(spent)} of {format_dollars(limit)}"


def _unable(unable: Unable, others: bool) -> list[Markup]:
    """Return "3 cannot: 2 need a key, 1 is not installed", in a list; empty if all can draw."""
    count = sum(unable.states.values())
    if not count:
        return []
    why = ", ".join(
        f"{number} {_LACKS[state][number > 1]}" for state, number in unable.states.items()
    )
    words = f"{count} cannot draw: {why}" if others else f"No chosen model can draw: {why}"
    line = Markup('<b class="lu-warned">{}</b>').format(words)
    if unable.service:
        button = Markup(
            ' <button type="button" data-act="keys" data-service="{}">Open Keys</button>'
        )
        line += button.format(unable.service)
    return [line]


def problems(wrong: Mapping[str, str]) -> str:
    """Return the sentences of `wrong` (by field name) as HTML, one in a line.

    The page finds the field by the name in `data-field`.
    """
    line = Markup('<span class="lu-bad" role="alert" data-field="{}">{}</span>')
    return str(Markup("<br>").join(line.format(*each) for each in wrong.items()))


def problem(error: Exception) -> str:
    """Return the sentence of one error as HTML; a `BadField` names its field."""
    return problems({getattr(error, "field", ""): str(error)})


def format_costs(costs: Mapping[str, Cost]) -> dict[str, dict[str, Any]]:
    """Return the property `costs` of the model picker: each model's estimate as text.

    `high` is the most in USD, None if unknown; `free` is true for what costs nothing.
    """
    return {model: _entry(cost) for model, cost in costs.items()}


def _entry(cost: Cost) -> dict[str, Any]:
    high = cost.high if cost.amount is None else cost.amount
    free = cost.basis is Basis.FREE
    return {"text": format_cost(cost), "high": None if high is None else float(high), "free": free}
