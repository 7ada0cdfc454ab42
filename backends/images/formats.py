"""How PNG, JPEG, WebP and GIF say their size, and how one sees that none of it is missing."""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


class MalformedImage(Exception):
    """The header does not say how large the picture is, or it is cut short."""


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file; `_size` and `_whole` read its structure, nothing is decoded."""

    name: str
    media_type: str
    _size: Callable[[bytes], tuple[int, int]]
    _whole: Callable[[bytes], bool]

    def size(self, data: bytes) -> tuple[int, int]:
        """Return (width, height), or raise `Broken`."""
        try:
            return self._size(data)
        except (struct.error, IndexError) as error:
            raise MalformedImage from error

    def whole(self, data: bytes) -> bool:
        """Say whether nothing is missing or, as far as checksums tell, damaged."""
        try:
            return self._whole(data)
        except (struct.error, IndexError, MalformedImage):
            return False


def format_of(data: bytes) -> Format | None:
    """Return the format that the first bytes announce."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format("PNG", "image/png", _png_size, _png_whole)
    if data.startswith(b"\xff\xd8\xff"):
        return Format("JPEG", "image/jpeg", _jpeg_size, _jpeg_whole)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Format("WebP", "image/webp", _webp_size, _webp_whole)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Format("GIF", "image/gif", _gif_size, _gif_whole)
    return None


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise MalformedImage
    return struct.unpack_from(">II", data, 16)


def _png_whole(data: bytes) -> bool:
    view, at, pixels = memoryview(data), 8, False
    while at + 12 <= len(data):
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
    """Yield (marker, offset after it) up to the first scan."""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise MalformedImage
        while data[at] == 0xFF:  # any number of fill bytes may lead a marker
            at += 1
        marker, at = data[at], at + 1
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


def _jpeg_whole(data: bytes) -> bool:
    # Behind the start of the scan a bare FF D9 can only be the end: a thumbnail's lies before it.
    scan = next(at for marker, at in _jpeg_segments(data) if marker == 0xDA)
    return data.rfind(b"\xff\xd9", scan) > 0


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


def _webp_whole(data: bytes) -> bool:
    return len(data) >= struct.unpack_from("<I", data, 4)[0] + 8


def _gif_size(data: bytes) -> tuple[int, int]:
    return struct.unpack_from("<HH", data, 6)


def _gif_whole(data: bytes) -> bool:
    return data.rstrip(b"\0").endswith(b";")
