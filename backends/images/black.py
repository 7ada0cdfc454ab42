"""Recognize pictures that are black throughout, which servers send instead of an error.

A VAE that overflows in half precision decodes to NaN, which is saved as black; a safety checker
replaces a picture with black. Either is a valid file, so only the pixels tell.

Pillow is imported inside the function that decodes.
"""

import asyncio
import io
from collections.abc import Sequence
from typing import Final

from backends.base import Applied, Picture

MAX_LEVEL: Final = 2
"""The brightest level, of 255, that still counts as black: lossy formats do not keep 0 exactly."""
_LARGE_MODES: Final = ("I", "F")
"""Modes of 32 bits. Their levels are compared with those of 16 bits, as in a 16-bit PNG."""
NOTE: Final = (
    "black throughout: a safety filter there has blocked it, or numbers overflowed. Against that a "
    "VAE of full precision helps, or a start of the server with --fp32-vae or --no-half-vae"
)


def is_black(data: bytes) -> bool:
    """Return whether no pixel of a picture is visibly brighter than black.

    Transparency does not count, and of an animation only the first frame. It is False for data
    that cannot be decoded. Slow for a large picture: call it in a thread.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("L", (1, 1))  # a JPEG is decoded at an eighth, where black stays black
            if image.mode.startswith(_LARGE_MODES):
                most = image.getextrema()[1]
                return isinstance(most, int | float) and most <= MAX_LEVEL * 257
            # Convert would mix colours into grey: the brightest channel decides.
            return all(most <= MAX_LEVEL for _, most in image.convert("RGB").getextrema())  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType, reportOperatorIssue]
    except Exception:  # Pillow raises many types for damaged files
        return False


async def black_picture_note(pictures: Sequence[Picture]) -> dict[str, Applied]:
    """Return an entry "picture" for `honoured` that names black pictures, or nothing."""
    found = [await asyncio.to_thread(is_black, picture.data) for picture in pictures]
    if not any(found):
        return {}
    some = f"{sum(found)} of {len(found)} pictures are " if len(found) > 1 else "the picture is "
    return {"picture": Applied(None, None, some + NOTE)}
