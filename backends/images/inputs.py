"""Pictures given by users, as a service or a server gets them: for upload, or as a control.

Pillow is imported inside the functions that decode, so that backends can be imported without it.
"""

from collections.abc import Sequence

from backends.base import Control
from backends.errors import BadInput, ServiceFault
from backends.images.validation import check

_NAMES = {"image/png": "start.png", "image/jpeg": "start.jpg", "image/webp": "start.webp"}


def as_upload(data: bytes) -> tuple[str, bytes, str]:
    """Return a file's name, its bytes and its media type; slow, call it in a thread.

    PNG, JPEG and WebP stay as they are, unless their EXIF says that they lie on their side or are
    mirrored: then they are turned. Of anything else the first frame is sent, as PNG.

    Raises:
        BadInput: it is no picture, or one that is of no use.
    """
    from backends.images import decoding, encoding

    try:
        media_type = check(data).media_type
    except ServiceFault:
        media_type = ""
    if media_type in _NAMES:
        return _NAMES[media_type], decoding.apply_orientation(data), media_type
    return "start.png", encoding.encode(decoding.read_image(data, decoding.START)), "image/png"


MAX_SIDE = 2048
"""No ControlNet sees more of a picture than that, in pixels of its longer side."""


def upright_png(data: bytes) -> bytes:
    """Return the picture as a PNG, no larger than is of use; slow, call it in a thread.

    Raises:
        BadInput: it cannot be read.
    """
    from backends.images import decoding, encoding

    picture = decoding.read_image(data)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return encoding.encode(picture)


def span(control: Control) -> tuple[float, float]:
    """Return from where to where in the drawing the picture steers, as shares of it.

    Raises:
        BadInput: that is nowhere.
    """
    start, end = (min(max(at, 0.0), 1.0) for at in (control.start, control.end))
    if start >= end:
        raise BadInput("The control picture must end to steer after it begins. Change its range.")
    return start, end


def network_for(place: int, chosen: str) -> str:
    """Return the network that the option `chosen` names for the control at `place`, "" for none.

    One name is for all controls; several, with commas, are for one each.
    """
    names = [name.strip() for name in chosen.split(",")]
    if len(names) == 1:
        return names[0]
    return names[place] if place < len(names) else ""


def of_size(networks: Sequence[str], checkpoint: str) -> str:
    """Return the first of `networks` whose name says that it is for checkpoints of that size.

    Where none does, it is the first of all.
    """
    large = _is_xl(checkpoint)
    return next((each for each in networks if _is_xl(each) == large), networks[0])


def _is_xl(name: str) -> bool:
    return "xl" in name.lower()
