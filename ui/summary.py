"""The line under the form: what the run would cost, or what is wrong with it."""

from collections.abc import Mapping

from markupsafe import Markup, escape

from compare.pricing import in_words as cost_in_words
from compare.pricing import total
from compare.records import Cost


def estimate(costs: Mapping[str, Cost]) -> str:
    """Return "5 models, about $0.06–0.07 before you start · two are free"."""
    if not costs:
        return str(Markup("<b>No model is chosen.</b> Press “+ models” to choose some."))
    whole = total(costs.values())
    priced = len(costs) - whole.free - whole.unknown
    models = f"{len(costs)} model" + ("s" if len(costs) != 1 else "")
    parts = [Markup("<b>{}</b>").format(models)]
    if priced:
        words = cost_in_words(Cost(low=whole.low, high=whole.high))
        parts[0] += Markup(", about <b>{}</b> before you start").format(words)
    if whole.free:
        parts.append(escape("all free" if whole.free == len(costs) else f"{whole.free} free"))
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
