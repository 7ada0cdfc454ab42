"""The picture that the user gave to steer with: any of the usual files in, plain RGB out.

Files come from strangers. The header is read first and decides; only then are pixels decoded.
"""

import io
from typing import Final

from PIL import Image, ImageOps

from backends.errors import BadInput

MOST_PIXELS: Final = 50_000_000
LEAST_SIDE: Final = 16
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def read(data: bytes) -> Image.Image:
    """Return the picture in `data`: upright, its first frame, laid on white, as RGB.

    Raises:
        BadInput: it is not a picture, is damaged, far too large or too small.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(_too_large()) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise BadInput(
            "The control picture cannot be read. Give it as PNG, JPEG, WebP, GIF, BMP or TIFF."
        ) from error
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise BadInput(_too_large(width, height))
    if min(width, height) < LEAST_SIDE:
        raise BadInput(
            f"The control picture is too small: {width}x{height} pixels. "
            f"Both sides need at least {LEAST_SIDE}."
        )
    try:
        picture.load()
        return _on_white(ImageOps.exif_transpose(picture))
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise BadInput(
            "The control picture is damaged. Save it again and give that file."
        ) from error


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        # Pillow cuts 16-bit greys off at 255 instead of scaling them.
        picture = picture.convert("I").point(lambda grey: grey / 257).convert("L")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(ground, layer)
    return picture.convert("RGB")


def _too_large(width: int | None = None, height: int | None = None) -> str:
    size = f": {width:,}x{height:,} pixels" if width and height else ""
    return (
        f"The control picture is too large{size}. "
        f"It was not opened; use one of at most {MOST_PIXELS // 1_000_000} megapixels."
    )
