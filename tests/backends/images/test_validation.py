"""Pictures are checked without being decoded, and what is wrong is said in a sentence."""

import io
from typing import Any

import pytest
from PIL import Image

from backends.errors import ServiceFault
from backends.images.previews import thumbnail
from backends.images.validation import check, dimensions
from tests.servers import pictures


def encoded(form: str, size: tuple[int, int] = (40, 30), mode: str = "RGB", **more: Any) -> bytes:
    """A picture with some detail."""
    image = Image.radial_gradient("L").resize(size).convert(mode)
    out = io.BytesIO()
    image.save(out, form, **more)
    return out.getvalue()


WHOLE = {
    "png": (encoded("PNG"), "image/png"),
    "png with alpha": (encoded("PNG", mode="RGBA"), "image/png"),
    "jpeg": (encoded("JPEG"), "image/jpeg"),
    "progressive jpeg": (encoded("JPEG", progressive=True), "image/jpeg"),
    "jpeg with exif": (encoded("JPEG", exif=b"Exif\0\0" + b"\xff\xd9" * 20), "image/jpeg"),
    "lossy webp": (encoded("WEBP"), "image/webp"),
    "lossless webp": (encoded("WEBP", lossless=True), "image/webp"),
    "extended webp": (encoded("WEBP", mode="RGBA"), "image/webp"),
    "gif": (encoded("GIF"), "image/gif"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_picture_is_kept_as_it_came(name: str) -> None:
    data, media_type = WHOLE[name]
    picture = check(data, seed=7)
    assert picture.data is data
    assert (picture.width, picture.height, picture.media_type) == (40, 30, media_type)
    assert picture.seed == 7
    assert dimensions(data) == (40, 30, media_type)


@pytest.mark.parametrize("name", WHOLE)
def test_the_header_says_what_a_decoder_says(name: str) -> None:
    for size in ((1, 1), (17, 300), (641, 2)):
        data, media_type = WHOLE[name]
        with Image.open(io.BytesIO(data)) as image:
            form, mode = str(image.format), image.mode
        data = encoded(form, size, "RGBA" if mode == "RGBA" else "RGB")
        assert dimensions(data) == (*size, media_type)


@pytest.mark.parametrize("name", WHOLE)
def test_a_picture_cut_short_anywhere_is_damaged(name: str) -> None:
    data, _ = WHOLE[name]
    for length in {1, 4, 11, 13, 20, 24, 29, len(data) // 2, len(data) - 4, len(data) - 1}:
        with pytest.raises(ServiceFault, match=r"damaged|incomplete|not a PNG"):
            check(data[:length])


def test_a_flipped_bit_in_a_png_is_found() -> None:
    data = bytearray(pictures.plain())
    for position in (26, 50, len(data) - 15):
        flipped = bytearray(data)
        flipped[position] ^= 1
        with pytest.raises(ServiceFault, match="damaged"):
            check(bytes(flipped))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"<html>Not Found</html>", "not a PNG, JPEG, WebP or GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG"),
        (pictures.bomb(), "10000x10000; at most 64 megapixels"),
        (pictures.png(0, 5, b"\0" * 5), "without pixels"),
        (pictures.plain()[:8] + pictures.png_chunk(b"IEND", b""), "damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100_000_000, "100 MB; at most"),
        (b"\xff\xd8" + b"\xff" * 90_000_000, "damaged"),
        (b"\xff\xd8\xff" + b"\x01\xff" * 45_000_000, "damaged"),
    ],
    ids=[
        *("empty", "html", "svg", "bomb", "no pixels", "no header", "too many bytes"),
        *("a JPEG of fill bytes", "a JPEG of markers"),
    ],
)
def test_what_is_no_picture(data: bytes, sentence: str) -> None:
    for read in (check, dimensions, lambda data: thumbnail(data, 64)):  # pyright: ignore
        with pytest.raises(ServiceFault, match=sentence) as caught:
            read(data)
        assert caught.value.charged is None


def test_a_png_without_pixel_data_is_damaged() -> None:
    header = pictures.plain()[:33]
    with pytest.raises(ServiceFault, match="damaged"):
        check(header + pictures.png_chunk(b"IEND", b""))


@pytest.mark.parametrize("kind", [b"tEXt", b"IDAT"])
def test_a_picture_of_countless_parts_is_not_walked_through(kind: bytes) -> None:
    data, part = pictures.plain(), pictures.png_chunk(kind, b"")
    assert check(data[:33] + part * 50_000 + data[33:]).width == 64
    with pytest.raises(ServiceFault, match="damaged"):
        check(data[:33] + part * 100_000 + data[33:])
