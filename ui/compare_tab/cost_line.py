"""The line below the form: the run's estimated cost, or the sentences that say what is wrong.

Pure functions from costs and sentences to HTML; what users and services wrote is escaped.
"""

from collections.abc import Mapping
from dataclasses import replace

from markupsafe import Markup, escape

from compare.formatting import format_cost
from compare.pricing import total
from compare.records import Cost


def estimate(
    costs: Mapping[str, Cost],
    *variants: Mapping[str, Cost],
    second: tuple[str, Cost] | None = None,
) -> str:
    """Return "5 models, about $0.06–0.07 before you start · 2 free" as HTML.

    Args:
        costs: the expected cost of each chosen model.
        variants: the costs of the prompt's other variants, each drawn by the same models.
        second: the second step that follows each picture: its model's label, and its cost each
            time.
    """
    if not costs:
        return str(Markup("<b>No model is chosen.</b> Press “+ models” to choose some."))
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
    return str(Markup(" · ").join(parts))


def problems(wrong: Mapping[str, str]) -> str:
    """Return the sentences of `wrong` (by field name) as HTML, one in a line.

    The page finds the field by the name in `data-field`.
    """
    line = Markup('<span class="lu-bad" role="alert" data-field="{}">{}</span>')
    return str(Markup("<br>").join(line.format(*each) for each in wrong.items()))


def problem(error: Exception) -> str:
    """Return the sentence of one error as HTML; a `BadField` names its field."""
    return problems({getattr(error, "field", ""): str(error)})


def format_costs(costs: Mapping[str, Cost]) -> dict[str, str]:
    """Return the property `costs` of the model picker: each model's estimate as text."""
    return {model: format_cost(cost) for model, cost in costs.items()}
