"""Split a grid into its four pictures, and record how each input was applied.

Cutting needs the pixels, so the parts are encoded anew, as PNG, which loses nothing: each pixel is
that of the grid. The grid's own bytes are delivered unchanged as well.
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
    """Return how each input was applied, by Midjourney's message and its pictures.

    `grid` is None if a person uploaded it, `parts` is empty if it could not be cut.
    """
    honoured = dict(command.honoured)
    honoured["seed"] = _seed(command, grid)
    honoured["count"] = _count(command.request.count)
    honoured["grid"] = _grid(parts)
    if parts:
        honoured["size"] = _size(honoured["size"], parts[0])
    if grid is None:
        return honoured
    if grid.prompt is not None and plain_words(grid.prompt) != plain_words(command.prompt):
        honoured["prompt"] = Applied(command.prompt, grid.prompt, "prompt changed on the way")
    if grid.speed is not None:
        requested = honoured["speed"].requested if "speed" in honoured else None
        differs = requested is not None and not grid.speed.startswith(str(requested))
        note = f"speed {grid.speed} instead of {requested}" if differs else ""
        honoured["speed"] = Applied(requested, grid.speed, note)
    return honoured


def _seed(command: Command, grid: Update | None) -> Applied:
    requested = command.request.seed
    if grid is None:
        return Applied(requested, None, "seed unknown: the grid was brought by hand")
    if grid.seed is None:
        return Applied(requested, None, "seed unknown: Midjourney's answer does not repeat it")
    return Applied(requested, grid.seed)


def _count(requested: int) -> Applied:
    differs = requested != PICTURES_PER_GRID
    note = f"{PICTURES_PER_GRID} instead of {requested} pictures: Midjourney draws grids"
    return Applied(requested, PICTURES_PER_GRID, note if differs else "")


def _grid(parts: Sequence[Picture]) -> Applied:
    if not parts:
        return Applied(None, "grid", "the grid as it came: it could not be cut")
    note = "first the grid as it came, then its four pictures, cut without loss and kept as PNG"
    return Applied(None, "grid and parts", note)


def _size(size: Applied, part: Picture) -> Applied:
    actual = f"{part.width}x{part.height}"
    wanted = size.requested or size.used
    note = "" if actual == wanted else f"{actual} instead of {wanted}"
    return replace(size, used=actual, note=note)


_FAST_COMPRESSION = 1
"""PNG compression level: a picture of a megapixel takes a third of the default level's time."""


def split_grid(data: bytes) -> list[Picture]:
    """Return the four parts of a grid: top left, top right, bottom left, bottom right.

    An odd row or column goes to the last parts. Slow: call it in a thread.

    Raises:
        ServiceFault: the picture cannot be decoded, or is too small to be a grid.
    """
    from PIL import Image

    width, height, _ = dimensions(data)  # checked before Pillow decodes anything
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
