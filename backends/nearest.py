"""What a server has instead of something that it lacks, as a sentence."""

import difflib
from collections.abc import Sequence


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a sentence with those of `known` that look most like `name`."""
    if not known:
        return "It has none at all."
    lowered = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.3)
    listed = [lowered[each] for each in near] or list(known[:3])
    *most, last = listed
    return f"The nearest it has: {', '.join(most)} or {last}." if most else f"It has {last}."
