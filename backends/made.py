"""What came instead of what was asked for: how many pictures, and how large."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from backends.base import Honour, Picture
from backends.errors import BackendError


def as_made(
    honoured: Mapping[str, Honour],
    pictures: Sequence[Picture],
    failures: Sequence[BackendError] = (),
) -> dict[str, Honour]:
    """Return `honoured` with "size" and "count" as the pictures show them.

    `failures` says why some of them did not come.
    """
    size, count = honoured["size"], honoured["count"]
    made = f"{pictures[0].width}x{pictures[0].height}"
    if made != size.used:
        wished = size.asked or size.used
        note = "" if wished in (made, None) else f"{made} instead of {wished}"
        size = replace(size, used=made, note=note)
    if len(pictures) != count.used:
        why = f": {failures[0]}" if failures else ""
        note = f"{len(pictures)} instead of {count.asked} pictures{why}"
        count = replace(count, used=len(pictures), note=note)
    return {**honoured, "size": size, "count": count}
