"""A thumbnail is a small JPEG of any picture that can be decoded."""

import io

import pytest
from PIL import Image

from backends.errors import ServiceFault
from backends.images.previews import thumbnail
from backends.images.validation import check, dimensions
from tests.backends.images.test_validation import WHOLE
from tests.servers import pictures


@pytest.mark.parametrize("name", WHOLE)
def test_a_thumbnail_is_a_small_jpeg_of_the_same_shape(name: str) -> None:
    data, _ = WHOLE[name]
    small = thumbnail(data, 20)
    assert dimensions(small) == (20, 15, "image/jpeg")
    assert len(small) < 2000


def test_a_small_picture_is_not_enlarged() -> None:
    assert dimensions(thumbnail(pictures.plain(8, 4), 64)) == (8, 4, "image/jpeg")


def test_transparent_becomes_white() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(out, "PNG")
    with Image.open(io.BytesIO(thumbnail(out.getvalue(), 16))) as image:
        assert image.convert("RGB").getpixel((8, 8)) == (255, 255, 255)


def test_a_picture_that_cannot_be_decoded_has_no_thumbnail() -> None:
    broken = pictures.png(64, 64, b"too short")
    check(broken)  # whole as a file: every checksum is right
    with pytest.raises(ServiceFault, match="damaged"):
        thumbnail(broken, 32)
