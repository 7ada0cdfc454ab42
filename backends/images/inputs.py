"""Prepare pictures given by users for a service: as an upload, or as a control.

Pillow is imported inside the functions that decode, so that backends can be imported without it.
"""

from collections.abc import Sequence

from backends.base import Control
from backends.errors import BadInput, ServiceFault
from backends.images.validation import check

_UPLOAD_NAMES = {"image/png": "start.png", "image/jpeg": "start.jpg", "image/webp": "start.webp"}


def as_upload(data: bytes) -> tuple[str, bytes, str]:
    """Return an init image as (file name, bytes, media type); slow, call it in a thread.

    PNG, JPEG and WebP are sent unchanged, unless their EXIF orientation rotates or mirrors them:
    then that is applied. Other formats are sent as a PNG of the first frame.

    Raises:
        BadInput: it is not a picture, is damaged, too large or too small.
    """
    from backends.images import decoding, encoding

    try:
        media_type = check(data).media_type
    except ServiceFault:
        media_type = ""
    if media_type in _UPLOAD_NAMES:
        return _UPLOAD_NAMES[media_type], decoding.apply_orientation(data), media_type
    return "start.png", encoding.encode(decoding.read_image(data, decoding.START)), "image/png"


MAX_SIDE = 2048
"""Pixels of the longer side beyond which a ControlNet sees no more detail."""


def upright_png(data: bytes) -> bytes:
    """Return a control picture as an upright PNG of at most `MAX_SIDE`; slow, call it in a thread.

    Raises:
        BadInput: it cannot be decoded.
    """
    from backends.images import decoding, encoding

    picture = decoding.read_image(data)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return encoding.encode(picture)


def span(control: Control) -> tuple[float, float]:
    """Return the start and the end of the control's effect, as fractions of the steps.

    Raises:
        BadInput: the range is empty.
    """
    start, end = (min(max(at, 0.0), 1.0) for at in (control.start, control.end))
    if start >= end:
        raise BadInput("The control picture must end to steer after it begins. Change its range.")
    return start, end


def network_for(place: int, chosen: str) -> str:
    """Return the ControlNet that the option `chosen` names for a control, "" for none.

    A single name applies to all controls; of several, separated by commas, each applies to the
    control at the same place. `place` counts from 0.
    """
    names = [name.strip() for name in chosen.split(",")]
    if len(names) == 1:
        return names[0]
    return names[place] if place < len(names) else ""


def of_size(networks: Sequence[str], checkpoint: str) -> str:
    """Return the first of `networks` for the checkpoint's architecture, SDXL or not, by its name.

    Without a match it is the first of all.
    """
    is_xl = _is_xl(checkpoint)
    return next((each for each in networks if _is_xl(each) == is_xl), networks[0])


def _is_xl(name: str) -> bool:
    return "xl" in name.lower()
