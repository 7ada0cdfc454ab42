"""Bytes in, checked picture out.

A picture is kept exactly as it came, so nothing here decodes and encodes it again. What a service
sends may still be empty, cut short, damaged, or a small file that unpacks to gigabytes. The
structure tells: a PNG carries a checksum for each of its chunks, JPEG and GIF end with a marker,
WebP states its length, and all of them state their size in pixels up front. Walking that
structure takes half a millisecond for a picture of 1.6 MB, where decoding takes 17, and a
checksum finds a flipped bit that a decoder may well draw as a slightly wrong picture.

Pillow is imported only where pixels are needed, which is for previews.
"""

import io

from backends.base import Picture
from backends.errors import ServiceFault
from backends.images.formats import Format, MalformedImage, format_of

MOST_PIXELS = 64_000_000
MOST_BYTES = 100_000_000


def check(data: bytes, *, seed: int | None = None) -> Picture:
    """Return `data` as a picture, or say what is wrong with it.

    The checksums of a large picture take a while: call it in a thread.

    Raises:
        ServiceFault: the bytes are no picture that can be kept or shown.
    """
    width, height, media_type = dimensions(data)
    form = _format(data)
    if not form.whole(data):
        raise _incomplete(form)
    return Picture(data=data, width=width, height=height, media_type=media_type, seed=seed)


def dimensions(data: bytes) -> tuple[int, int, str]:
    """Return (width, height, media type) from the header alone.

    Raises:
        ServiceFault: there is no such header, or it announces more than may be unpacked.
    """
    if not data:
        raise ServiceFault("The service sent an empty picture. Try again.")
    if len(data) > MOST_BYTES:
        raise ServiceFault(
            f"The service sent a picture of {len(data) / 1e6:,.0f} MB; at most "
            f"{MOST_BYTES / 1e6:,.0f} MB are taken. Ask for a smaller one."
        )
    form = _format(data)
    try:
        width, height = form.size(data)
    except MalformedImage as error:
        raise _incomplete(form) from error
    if width < 1 or height < 1:
        raise ServiceFault(f"The service sent a {form.name} picture without pixels. Try again.")
    if width * height > MOST_PIXELS:
        raise ServiceFault(
            f"The service sent a picture of {width}x{height}; at most "
            f"{MOST_PIXELS / 1e6:.0f} megapixels are taken. Ask for a smaller one."
        )
    return width, height, form.media_type


def thumbnail(data: bytes, side: int) -> bytes:
    """Return a JPEG of `data` whose longer side is at most `side`; slow, call it in a thread.

    Raises:
        ServiceFault: the picture cannot be decoded.
    """
    from PIL import Image

    dimensions(data)  # before Pillow unpacks anything
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (side, side))  # a JPEG is decoded at an eighth, quarter or half
            image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=1.0)
            small = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB")
        if small.mode == "RGBA":
            paper = Image.new("RGBA", small.size, "white")
            small = Image.alpha_composite(paper, small).convert("RGB")
        out = io.BytesIO()
        small.save(out, "JPEG", quality=80)
    # Pillow raises many kinds for damaged files, among them SyntaxError and EOFError.
    except Exception as error:
        raise ServiceFault("The service sent a damaged picture. Try again.") from error
    return out.getvalue()


def _format(data: bytes) -> Format:
    form = format_of(data)
    if form is None:
        raise ServiceFault(
            "The service sent something that is not a PNG, JPEG, WebP or GIF picture."
        )
    return form


def _incomplete(form: Format) -> ServiceFault:
    return ServiceFault(f"The service sent a damaged or incomplete {form.name} picture. Try again.")
