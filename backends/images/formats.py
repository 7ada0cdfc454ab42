"""Read the structure of PNG, JPEG, WebP and GIF: the size in pixels, and completeness."""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

MAX_PARTS: Final = 100_000
"""Chunks of a PNG, or segments of a JPEG before its pixels, that are walked through: a picture of
100 MB has 12,000 chunks if its encoder wrote 8 KB at a time, as most do."""
_MAX_FILL: Final = 1024

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


class MalformedImage(Exception):
    """The header does not state the size of the picture, or is truncated."""


@dataclass(frozen=True, slots=True)
class Format:
    """A file format; `_size` and `_is_complete` read its structure and decode nothing."""

    name: str
    media_type: str
    _size: Callable[[bytes], tuple[int, int]]
    _is_complete: Callable[[bytes], bool]

    def size(self, data: bytes) -> tuple[int, int]:
        """Return (width, height) in pixels.

        Raises:
            MalformedImage: the header does not state them.
        """
        try:
            return self._size(data)
        except (struct.error, IndexError) as error:
            raise MalformedImage from error

    def is_complete(self, data: bytes) -> bool:
        """Return whether nothing is missing or, as far as checksums tell, damaged."""
        try:
            return self._is_complete(data)
        except (struct.error, IndexError, MalformedImage):
            return False


def format_of(data: bytes) -> Format | None:
    """Return the format that the first bytes identify, None if it is none of the four."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format("PNG", "image/png", _png_size, _png_is_complete)
    if data.startswith(b"\xff\xd8\xff"):
        return Format("JPEG", "image/jpeg", _jpeg_size, _jpeg_is_complete)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Format("WebP", "image/webp", _webp_size, _webp_is_complete)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Format("GIF", "image/gif", _gif_size, _gif_is_complete)
    return None


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise MalformedImage
    return struct.unpack_from(">II", data, 16)


def _png_is_complete(data: bytes) -> bool:
    view, at, pixels = memoryview(data), 8, False
    for _ in range(MAX_PARTS):
        if at + 12 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[at + 4 : end]) != checksum:
            return False
        pixels = pixels or kind == b"IDAT"
        if kind == b"IEND":
            return pixels
        at = end + 4
    return False


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker and the offset after it, up to the first scan."""
    at = 2
    for _ in range(MAX_PARTS):
        if data[at] != 0xFF:
            raise MalformedImage
        lead = data[at : at + _MAX_FILL]  # fill bytes may lead a marker
        at += len(lead) - len(lead.lstrip(b"\xff"))
        marker, at = data[at], at + 1
        if marker == 0xFF:
            raise MalformedImage
        yield marker, at
        if marker not in _JPEG_BARE:
            at += struct.unpack_from(">H", data, at)[0]


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, at in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
        if marker in (0xD9, 0xDA):
            break
    raise MalformedImage


def _jpeg_is_complete(data: bytes) -> bool:
    # After the start of the scan FF D9 can only be the end; an embedded thumbnail's lies before it.
    scan = next((at for marker, at in _jpeg_segments(data) if marker == 0xDA), None)
    return scan is not None and data.rfind(b"\xff\xd9", scan) > 0


def _webp_size(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            width = int.from_bytes(data[24:27], "little") + 1
            return width, int.from_bytes(data[27:30], "little") + 1
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case _:
            raise MalformedImage


def _webp_is_complete(data: bytes) -> bool:
    return len(data) >= struct.unpack_from("<I", data, 4)[0] + 8


def _gif_size(data: bytes) -> tuple[int, int]:
    return struct.unpack_from("<HH", data, 6)


def _gif_is_complete(data: bytes) -> bool:
    return data.rstrip(b"\0").endswith(b";")
