"""What became of each input, as Midjourney's answer and its pictures tell.

A grid of four pictures, cut into its parts.

Cutting needs the pixels, so the parts are encoded anew, as PNG, which loses nothing: each pixel is
that of the grid. The grid's own bytes are for whoever has them to keep.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.base import Applied, Picture
from backends.errors import ServiceFault
from backends.images.validation import dimensions
from backends.midjourney.messages import Update
from backends.midjourney.request import Command, plain_words

if TYPE_CHECKING:
    from PIL import Image

PICTURES_PER_GRID = 4


def build_honoured(
    command: Command, grid: Update | None, parts: Sequence[Picture]
) -> dict[str, Applied]:
    """Correct what was asked by what came.

    `grid` is None where a person brought it, `parts` is empty where it could not be cut.
    """
    found = dict(command.honoured)
    found["seed"] = _seed(command, grid)
    found["count"] = _count(command.request.count)
    found["grid"] = _grid(parts)
    if parts:
        found["size"] = _size(found["size"], parts[0])
    if grid is None:
        return found
    if grid.prompt is not None and plain_words(grid.prompt) != plain_words(command.prompt):
        found["prompt"] = Applied(command.prompt, grid.prompt, "prompt changed on the way")
    if grid.speed is not None:
        asked = found["speed"].requested if "speed" in found else None
        other = asked is not None and not grid.speed.startswith(str(asked))
        note = f"speed {grid.speed} instead of {asked}" if other else ""
        found["speed"] = Applied(asked, grid.speed, note)
    return found


def _seed(command: Command, grid: Update | None) -> Applied:
    asked = command.request.seed
    if grid is None:
        return Applied(asked, None, "seed unknown: the grid was brought by hand")
    if grid.seed is None:
        return Applied(asked, None, "seed unknown: Midjourney's answer does not repeat it")
    return Applied(asked, grid.seed)


def _count(asked: int) -> Applied:
    note = (
        ""
        if asked == PICTURES_PER_GRID
        else f"{PICTURES_PER_GRID} instead of {asked} pictures: Midjourney draws grids"
    )
    return Applied(asked, PICTURES_PER_GRID, note)


def _grid(parts: Sequence[Picture]) -> Applied:
    if not parts:
        return Applied(None, "grid", "the grid as it came: it could not be cut")
    note = "first the grid as it came, then its four pictures, cut without loss and kept as PNG"
    return Applied(None, "grid and parts", note)


def _size(size: Applied, part: Picture) -> Applied:
    made = f"{part.width}x{part.height}"
    wanted = size.requested or size.used
    return replace(size, used=made, note="" if made == wanted else f"{made} instead of {wanted}")


_FAST_COMPRESSION = 1
"""PNG's level of compression: a picture of a megapixel takes a third of the time of the usual."""


def split_grid(data: bytes) -> list[Picture]:
    """Return the four parts of a grid: top left, top right, bottom left, bottom right.

    A row or column too many goes to the last ones. Slow: call it in a thread.

    Raises:
        ServiceFault: it cannot be decoded, or is too small to be a grid.
    """
    from PIL import Image

    width, height, _ = dimensions(data)  # before Pillow unpacks anything
    if width < 2 or height < 2:
        raise ServiceFault(f"A picture of {width}x{height} is no grid of four.")
    x, y = width // 2, height // 2
    boxes = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
    try:
        with Image.open(io.BytesIO(data)) as image:
            grid = image.convert("RGBA" if image.has_transparency_data else "RGB")
            profile = image.info.get("icc_profile")
    # Pillow raises many kinds for damaged files, among them SyntaxError and EOFError.
    except Exception as error:
        raise ServiceFault("The grid is damaged and cannot be cut into its pictures.") from error
    return [_encode(grid.crop(box), profile) for box in boxes]


def _encode(part: "Image.Image", profile: bytes | None) -> Picture:
    out = io.BytesIO()
    part.save(out, "PNG", compress_level=_FAST_COMPRESSION, icc_profile=profile)
    return Picture(
        data=out.getvalue(), width=part.width, height=part.height, media_type="image/png"
    )
