"""Pictures that are black throughout, in every form in which a server sends one."""

import io

import pytest
from PIL import Image

from backends.base import Applied
from backends.images.black import NOTE, black_picture_note, is_black
from backends.images.validation import check
from tests.servers import pictures


def encoded(mode: str, kind: str, colour: float | tuple[int, ...] = 0) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (64, 48), colour).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_black_is_black_in_every_mode(mode: str) -> None:
    assert is_black(encoded(mode, "PNG"))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_black_is_black_in_every_format(kind: str) -> None:
    assert is_black(encoded("RGB", kind))
    assert is_black(encoded("RGB", kind, (1, 2, 1))), "as lossy formats keep it"


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("RGB", (0, 0, 9)), ("RGB", (9, 0, 0)), ("L", 5), ("RGBA", (0, 30, 0, 255)), ("I;16", 3000)],
)
def test_dark_is_not_black(mode: str, colour: int | tuple[int, ...]) -> None:
    assert not is_black(encoded(mode, "PNG", colour))


def test_one_bright_spot_is_a_picture() -> None:
    image = Image.new("RGB", (640, 640))
    image.paste((255, 255, 255), (300, 300, 308, 308))
    for kind in ("PNG", "JPEG"):
        file = io.BytesIO()
        image.save(file, kind)
        assert not is_black(file.getvalue())


def test_what_is_no_picture_is_not_black() -> None:
    assert not is_black(b"")
    assert not is_black(encoded("RGB", "PNG")[:40])


async def test_the_note_counts_them() -> None:
    black, bright = check(encoded("RGB", "PNG")), check(pictures.plain(64, 64))
    assert await black_picture_note([bright, bright]) == {}
    assert await black_picture_note([black]) == {
        "picture": Applied(None, None, f"the picture is {NOTE}")
    }
    (entry,) = (await black_picture_note([bright, black, black])).values()
    assert entry.note.startswith("2 of 3 pictures are black throughout")
