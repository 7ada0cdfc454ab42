"""Decode pictures given by users: a file in one of six formats in, an upright RGB image out.

The files are untrusted: size and format are checked from the header before pixels are decoded. This
module imports Pillow at its top; `inputs` imports this module late.
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
_AVERAGED: Final = ("L", "LA", "RGB", "RGBA", "CMYK")
_DAMAGED: Final = (OSError, ValueError, SyntaxError, EOFError, MemoryError)


def prepare_init_image(data: bytes, width: int, height: int) -> bytes:
    """Return an init image as a PNG of width x height pixels, cropped to that aspect ratio.

    Slow: call it in a thread.

    Raises:
        BadInput: as in `read_image`.
    """
    picture = read_image(data, START)
    if picture.size != (width, height):
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return encoding.encode(picture)


def read_image(
    data: bytes, name: str = CONTROL, *, enough: tuple[int, int] | None = None
) -> Image.Image:
    """Return the first frame of the picture in `data`, upright, on a white background, as RGB.

    `name` is the picture's name in error sentences. `enough` is the width and height to which the
    caller scales the picture: one that is several times larger is scaled down early, to at least
    twice as much on both sides, which saves most of the memory.

    Raises:
        BadInput: it is not a picture, is damaged, too large or too small.
    """
    picture = _open(data, name)
    try:
        if enough is not None:
            # JPEG is decoded at a fraction of its size; other formats have no such way.
            side = max(enough) if on_its_side(data) else 0
            picture.draft(None, (2 * max(enough[0], side), 2 * max(enough[1], side)))
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        return _flatten(picture if enough is None else _reduced(picture, enough), name)
    except _DAMAGED as error:
        raise _damaged(name) from error


def apply_orientation(data: bytes, name: str = START) -> bytes:
    """Return the file unchanged, or rotated as its EXIF orientation states, in the same format.

    Some services ignore the EXIF orientation. Slow if the picture is rotated: call it in a thread.

    Raises:
        BadInput: it cannot be rotated.
    """
    if _orientation(data) == 1:
        return data
    picture = _open(data, name)
    out, profile = io.BytesIO(), picture.info.get("icc_profile")
    try:
        upright = ImageOps.exif_transpose(picture)
        # MPO is a JPEG with a second picture, as some telephones write it.
        form = "JPEG" if picture.format == "MPO" else picture.format
        upright.save(out, form, icc_profile=profile, **_save_options(picture))
    except _DAMAGED as error:
        raise _damaged(name) from error
    return out.getvalue()


def on_its_side(data: bytes) -> bool:
    """Return whether the EXIF orientation swaps width and height."""
    return _orientation(data) >= 5


def _orientation(data: bytes) -> int:
    """Return the EXIF orientation from 1 (upright) to 8; 5 and more swap width and height."""
    try:
        picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        # EXIF after a PNG's pixels cannot be read without decoding them.
        late = picture.format == "PNG" and "exif" not in picture.info
        value = 1 if late else picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many types; unreadable EXIF counts as none
        return 1
    return value if value in range(1, 9) else 1


def _save_options(picture: Image.Image) -> dict[str, Any]:
    """Return the options that save a picture again without visible loss."""
    match picture:
        case JpegImagePlugin.JpegImageFile():
            return {"quality": 95, "subsampling": JpegImagePlugin.get_sampling(picture)}
        case Image.Image(format="PNG"):
            return {"compress_level": 1}
        case _:
            return {"quality": 95}


def _open(data: bytes, name: str) -> Image.Image:
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


def _reduced(picture: Image.Image, enough: tuple[int, int]) -> Image.Image:
    """Return the picture divided by a whole number, at least twice as large as `enough`."""
    factor = min(side // (2 * least) for side, least in zip(picture.size, enough, strict=True))
    # Neither palettes nor a transparent colour can be averaged; sixteen bits Pillow does not.
    fits = picture.mode in _AVERAGED and "transparency" not in picture.info
    return picture.reduce(factor) if factor > 1 and fits else picture


def _flatten(picture: Image.Image, name: str) -> Image.Image:
    """Return an RGB image, transparent pixels blended with white."""
    if picture.mode.startswith(("I", "F")):
        picture = _scaled_greys(picture, name)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        background = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(background, layer)
    return picture.convert("RGB")


def _scaled_greys(picture: Image.Image, name: str) -> Image.Image:
    """Return greys of 16 or 32 bit, or floats, as 8 bit; Pillow would clip them at 0 and 255.

    Such files hold depth in some unit more often than brightness. The scale is that of floats from
    0 to 1, or of 8, 12, 14 or 16 bit, whichever holds all values; others, such as metres, are
    stretched from the least to the greatest. Pixels without a number get the nearest of the two.

    Raises:
        BadInput: no value is a number.
    """
    import numpy as np

    floats = picture.mode.startswith("F")
    values = np.asarray(picture if floats else picture.convert("I"), dtype=np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise BadInput(
            f"The {name} has no brightness: none of its values is a number (NaN or infinite). "
            "Save it again, as 8 or 16 bit."
        )
    least, most = float(finite.min()), float(finite.max())
    whole = not floats or bool((finite == finite.round()).all())
    scales = (1, 255, 4095, 16383, 65535) if whole else (1,)
    scale = next((scale for scale in scales if least >= 0 and most <= scale), None)
    low, high = (0.0, float(scale)) if scale else (least, most)
    values = np.nan_to_num(values, nan=least, posinf=most, neginf=least)
    return Image.fromarray(((values - low) * (255 / ((high - low) or 1))).round().astype(np.uint8))


def _damaged(name: str) -> BadInput:
    return BadInput(f"The {name} is damaged. Save it again and give that file.")


def _too_large(name: str, width: int | None = None, height: int | None = None) -> str:
    size = f": {width:,}x{height:,} pixels" if width and height else ""
    return (
        f"The {name} is too large{size}. "
        f"It was not opened; use one of at most {MAX_PIXELS // 1_000_000} megapixels."
    )
