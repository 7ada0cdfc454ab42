"""A grid of four pictures, cut into its parts.

Cutting needs the pixels, so the parts are encoded anew, as PNG, which loses nothing: each pixel is
that of the grid. The grid's own bytes are for whoever has them to keep.
"""

import io
from typing import TYPE_CHECKING

from backends.base import Picture
from backends.errors import ServiceFault
from backends.images.validation import dimensions

if TYPE_CHECKING:
    from PIL import Image

_QUICK = 1
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
    return [_picture(grid.crop(box), profile) for box in boxes]


def _picture(part: "Image.Image", profile: bytes | None) -> Picture:
    out = io.BytesIO()
    part.save(out, "PNG", compress_level=_QUICK, icc_profile=profile)
    return Picture(
        data=out.getvalue(), width=part.width, height=part.height, media_type="image/png"
    )
