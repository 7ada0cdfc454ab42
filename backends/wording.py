"""How a service's own words, and the wait that it names, stand in our sentences.

What a server has instead of something that it lacks, as a sentence.
"""

import difflib
from collections.abc import Sequence

from backends.http.client import redact

NO_REASON = "it gave no reason."


def service_message(said: str, *secrets: str | None) -> str:
    """Return a service's own words as the end of a sentence, made fit for a card.

    A page for a browser says nothing.
    """
    words = "" if said.lstrip().startswith("<") else redact(said, *secrets)
    if not words:
        return NO_REASON
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def retry_phrase(wait: float | None, otherwise: str = "later") -> str:
    """Return when to try again: "in 5 s", or `otherwise` where no wait was named."""
    return otherwise if wait is None else f"in {max(1, round(wait))} s"


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a sentence with those of `known` that look most like `name`."""
    if not known:
        return "It has none at all."
    lowered = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.3)
    listed = [lowered[each] for each in near] or list(known[:3])
    *most, last = listed
    return f"The nearest it has: {', '.join(most)} or {last}." if most else f"It has {last}."
