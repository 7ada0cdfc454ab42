"""The line under the form: what the run would cost, or what is wrong with it."""

from collections.abc import Mapping
from dataclasses import replace

from markupsafe import Markup, escape

from compare.formatting import format_cost as cost_in_words
from compare.pricing import total
from compare.records import Cost


def estimate(
    costs: Mapping[str, Cost],
    *variants: Mapping[str, Cost],
    second: tuple[str, Cost] | None = None,
) -> str:
    """Return "5 models, about $0.06–0.07 before you start · two are free".

    `variants` are the costs of the prompt's other variants, which are drawn as well; `second` is
    the second step that follows each picture, its name and what it costs each time.
    """
    if not costs:
        return str(Markup("<b>No model is chosen.</b> Press “+ models” to choose some."))
    runs = 1 + len(variants)
    jobs = [cost for each in (costs, *variants) for cost in each.values()]
    jobs += [second[1]] * len(jobs) if second else []
    whole, steps = total(jobs), len(jobs) // runs
    whole = replace(whole, free=whole.free // runs, unknown=whole.unknown // runs)
    priced = steps - whole.free - whole.unknown
    models = f"{len(costs)} model" + ("s" if len(costs) != 1 else "")
    models = f"{runs} variants × {models}" if variants else models
    models += f", each then {second[0]}" if second else ""
    parts = [Markup("<b>{}</b>").format(models)]
    if priced:
        words = cost_in_words(Cost(low=whole.low, high=whole.high))
        parts[0] += Markup(", about <b>{}</b> before you start").format(words)
    if whole.free:
        parts.append(escape("all free" if whole.free == steps else f"{whole.free} free"))
    if whole.unknown:
        parts.append(Markup("<b>{} of unknown price</b>").format(whole.unknown))
    return str(Markup(" · ").join(parts))


def problems(wrong: Mapping[str, str]) -> str:
    """Return the sentences that say why nothing was started."""
    line = Markup('<span class="lu-bad" role="alert">{}</span>')
    return str(Markup("<br>").join(line.format(sentence) for sentence in wrong.values()))


def in_words(costs: Mapping[str, Cost]) -> dict[str, str]:
    """Return each model's estimate as the picker shows it."""
    return {model: cost_in_words(cost) for model, cost in costs.items()}
