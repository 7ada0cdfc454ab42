"""Pictures for the fake servers, made without an imaging library."""

import functools
import random
import struct
import zlib


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, *, level: int = 1) -> bytes:
    """Return an RGB picture made from its rows, each of which starts with a filter byte."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            png_chunk(b"IDAT", zlib.compress(rows, level)),
            png_chunk(b"IEND", b""),
        )
    )


@functools.lru_cache
def plain(width: int = 64, height: int = 64, colour: bytes = b"\x30\x60\x90") -> bytes:
    """Return a small picture of one colour."""
    return png(width, height, (b"\0" + colour * width) * height)


@functools.lru_cache
def noise(width: int = 1024, height: int = 1024, seed: int = 0) -> bytes:
    """Return noise of four bits a sample: 1.6 MB at 1024x1024, like a detailed picture."""
    nibbles = bytes(byte & 15 for byte in random.Random(seed).randbytes(width * height * 3))
    side = width * 3
    rows = b"".join(b"\0" + nibbles[i * side : (i + 1) * side] for i in range(height))
    return png(width, height, rows)


@functools.lru_cache
def bomb(width: int = 10_000, height: int = 10_000) -> bytes:
    """Return a picture of a hundred megapixels in a few hundred kilobytes."""
    return png(width, height, bytes((width * 3 + 1) * height), level=9)
