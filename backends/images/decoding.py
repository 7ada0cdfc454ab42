"""Decode pictures given by users: any of the usual files in, an upright RGB image out.

Files come from strangers: the header is read first and decides, only then are pixels decoded.
This module imports Pillow, which `inputs` imports late.
"""

import io
from typing import Any, Final

from PIL import ExifTags, Image, ImageOps, JpegImagePlugin

from backends.errors import BadInput
from backends.images import encoding

MAX_PIXELS: Final = 50_000_000
MIN_SIDE: Final = 16
CONTROL: Final = "control picture"
START: Final = "start picture"
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_DAMAGED: Final = (OSError, ValueError, SyntaxError, EOFError, MemoryError)


def prepare_init_image(data: bytes, width: int, height: int) -> bytes:
    """Return the picture to start from as a PNG of width x height, cropped to that shape.

    Slow: call it in a thread.

    Raises:
        BadInput: as `read` does.
    """
    picture = read_image(data, START)
    if picture.size != (width, height):
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return encoding.encode(picture)


def read_image(data: bytes, name: str = CONTROL) -> Image.Image:
    """Return the picture in `data`: upright, its first frame, laid on white, as RGB.

    `name` is what the sentences call it.

    Raises:
        BadInput: it is not a picture, is damaged, far too large or too small.
    """
    picture = _opened(data, name)
    try:
        picture.load()
        return _on_white(ImageOps.exif_transpose(picture))
    except _DAMAGED as error:
        raise _damaged(name) from error


def apply_orientation(data: bytes, name: str = START) -> bytes:
    """Return the file as it came, or turned as its EXIF says, in its own format.

    Not everybody who is sent a photo looks at what the camera noted about it. Slow where it is
    turned: call it in a thread.

    Raises:
        BadInput: it is to be turned and cannot be.
    """
    if _orientation(data) == 1:
        return data
    picture = _opened(data, name)
    out, profile = io.BytesIO(), picture.info.get("icc_profile")
    try:
        turned = ImageOps.exif_transpose(picture)
        # A photo from a telephone may hold a second picture, and is a JPEG all the same.
        form = "JPEG" if picture.format == "MPO" else picture.format
        turned.save(out, form, icc_profile=profile, **_fine(picture))
    except _DAMAGED as error:
        raise _damaged(name) from error
    return out.getvalue()


def on_its_side(data: bytes) -> bool:
    """Whether width and height change places when the picture is turned as its EXIF says."""
    return _orientation(data) >= 5


def _orientation(data: bytes) -> int:
    """Return 1 to 8 as in EXIF: 1 stands upright, 5 and more lie on their side."""
    try:
        picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        # What stands behind a PNG's pixels could not be had without decoding them.
        late = picture.format == "PNG" and "exif" not in picture.info
        said = 1 if late else picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many kinds; a note that cannot be read says nothing
        return 1
    return said if said in range(1, 9) else 1


def _fine(picture: Image.Image) -> dict[str, Any]:
    """How to save a picture once more so that nobody sees it."""
    match picture:
        case JpegImagePlugin.JpegImageFile():
            return {"quality": 95, "subsampling": JpegImagePlugin.get_sampling(picture)}
        case Image.Image(format="PNG"):
            return {"compress_level": 1}
        case _:
            return {"quality": 95}


def _opened(data: bytes, name: str) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(_too_large(name)) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise BadInput(
            f"The {name} cannot be read. Give it as PNG, JPEG, WebP, GIF, BMP or TIFF."
        ) from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise BadInput(_too_large(name, width, height))
    if min(width, height) < MIN_SIDE:
        raise BadInput(
            f"The {name} is too small: {width}x{height} pixels. "
            f"Both sides need at least {MIN_SIDE}."
        )
    return picture


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        # Pillow cuts 16-bit greys off at 255 instead of scaling them.
        picture = picture.convert("I").point(lambda grey: grey / 257).convert("L")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(ground, layer)
    return picture.convert("RGB")


def _damaged(name: str) -> BadInput:
    return BadInput(f"The {name} is damaged. Save it again and give that file.")


def _too_large(name: str, width: int | None = None, height: int | None = None) -> str:
    size = f": {width:,}x{height:,} pixels" if width and height else ""
    return (
        f"The {name} is too large{size}. "
        f"It was not opened; use one of at most {MAX_PIXELS // 1_000_000} megapixels."
    )
