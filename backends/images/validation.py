"""Check the bytes of a picture without decoding it.

A picture is stored exactly as it was received, so nothing here decodes and encodes it again. What a
service sends may still be empty, truncated, damaged, or a small file that decodes to gigabytes. The
file's structure tells: a PNG has a checksum for each of its chunks, JPEG and GIF end with a marker,
WebP states its length, and all of them state their size in pixels up front. Walking that structure
takes half a millisecond for a picture of 1.6 MB, where decoding takes 17, and a checksum finds a
flipped bit that a decoder may well render as a slightly wrong picture.
"""

from backends.base import Picture
from backends.errors import ServiceFault
from backends.images.formats import Format, MalformedImage, format_of

MAX_PIXELS = 64_000_000
MAX_BYTES = 100_000_000
MAX_PICTURES = 64
"""Pictures of one answer: the catalogue's models draw ten at most, a batch of a workflow more."""


def check(data: bytes, *, seed: int | None = None) -> Picture:
    """Return `data` as a `Picture`; slow for a large one, call it in a thread.

    Raises:
        ServiceFault: the bytes are not a complete picture of a known format and an accepted size.
    """
    width, height, media_type = dimensions(data)
    form = _format(data)
    if not form.is_complete(data):
        raise _incomplete(form)
    return Picture(data=data, width=width, height=height, media_type=media_type, seed=seed)


def dimensions(data: bytes) -> tuple[int, int, str]:
    """Return (width, height, media type) from the header alone.

    Raises:
        ServiceFault: there is no such header, or it states more pixels than are accepted.
    """
    if not data:
        raise ServiceFault("The service sent an empty picture. Try again.")
    if len(data) > MAX_BYTES:
        raise ServiceFault(
            f"The service sent a picture of {len(data) / 1e6:,.0f} MB; at most "
            f"{MAX_BYTES / 1e6:,.0f} MB are taken. Ask for a smaller one."
        )
    form = _format(data)
    try:
        width, height = form.size(data)
    except MalformedImage as error:
        raise _incomplete(form) from error
    if width < 1 or height < 1:
        raise ServiceFault(f"The service sent a {form.name} picture without pixels. Try again.")
    if width * height > MAX_PIXELS:
        raise ServiceFault(
            f"The service sent a picture of {width}x{height}; at most "
            f"{MAX_PIXELS / 1e6:.0f} megapixels are taken. Ask for a smaller one."
        )
    return width, height, form.media_type


def check_count(number: int) -> None:
    """Check the number of pictures, or of their addresses, in one answer.

    Raises:
        ServiceFault: there are more than `MAX_PICTURES`.
    """
    if number > MAX_PICTURES:
        raise ServiceFault(
            f"The service sent {number:,} pictures at once; at most {MAX_PICTURES} are taken. "
            "Look at your usage page before you try again."
        )


def _format(data: bytes) -> Format:
    form = format_of(data)
    if form is None:
        raise ServiceFault(
            "The service sent something that is not a PNG, JPEG, WebP or GIF picture."
        )
    return form


def _incomplete(form: Format) -> ServiceFault:
    return ServiceFault(f"The service sent a damaged or incomplete {form.name} picture. Try again.")
