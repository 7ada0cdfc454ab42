"""What the line below the form says besides the cost: how long a run takes, which words are lost.

Hints, not errors: nothing here keeps a run from starting. Texts are escaped.
"""

import asyncio
from collections.abc import Sequence

from markupsafe import Markup

from compare.catalogue.forecast import RunTime, prompt_hints, run_time
from compare.formatting import format_seconds
from compare.lineup import Lineup
from compare.records import RunSpec
from ui.compare_tab.form import PROMPT

_MOST = 4


async def hints(lineup: Lineup, specs: Sequence[RunSpec], chosen: Sequence[str]) -> str:
    """Return HTML to append to the estimate of a form that asks for `specs`; "" if none is due.

    Of the variants of a prompt the longest stands for all.
    """
    if not chosen:
        return ""
    took = run_time(lineup.availability, specs, chosen)
    longest = max((spec.request for spec in specs), key=lambda request: len(request.prompt))
    found: list[str] = []
    if longest.prompt != PROMPT:  # every model reads the first page's prompt
        found = await asyncio.to_thread(prompt_hints, lineup.availability, longest, chosen)
    if len(found) > _MOST:
        found = [*found[: _MOST - 1], f"{len(found) - _MOST + 1} more models read it differently."]
    lines = Markup("").join(
        Markup('<span class="lu-hint">{}</span>').format(each) for each in found
    )
    return str(_time(took) + lines)


def _time(took: RunTime | None) -> Markup:
    if took is None:
        return Markup("")
    some = "" if took.measured == took.models else f" for {took.measured} of {took.models}"
    about = format_seconds(max(1, round(took.seconds))).replace(".0", "")
    html = Markup(' <span class="lu-took">· about <b>{}</b>{} by what was measured here</span>')
    return html.format(about, some)
