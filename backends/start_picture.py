"""A picture to start from as a service gets it: as it came, upright and in a format it knows."""

from backends.errors import ServiceFault
from backends.images.validation import check

_NAMES = {"image/png": "start.png", "image/jpeg": "start.jpg", "image/webp": "start.webp"}


def sendable(data: bytes) -> tuple[str, bytes, str]:
    """Return a file's name, its bytes and its media type; slow, call it in a thread.

    PNG, JPEG and WebP stay as they are, unless their EXIF says that they lie on their side or are
    mirrored: then they are turned. Of anything else the first frame is sent, as PNG.

    Raises:
        BadInput: it is no picture, or one that is of no use.
    """
    from backends.images import encoding, inputs

    try:
        media_type = check(data).media_type
    except ServiceFault:
        media_type = ""
    if media_type in _NAMES:
        return _NAMES[media_type], inputs.upright(data), media_type
    return "start.png", encoding.encode(inputs.read(data, inputs.START)), "image/png"
