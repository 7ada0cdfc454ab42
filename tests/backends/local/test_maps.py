"""Control pictures: whatever is given becomes a map of the generation's size, or a sentence."""

import io
import os
import struct
import zlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pytest_asyncio
from PIL import Image, ImageDraw

from backends.base import Config, Control, Model, Picture, Receipt, Request, Value
from backends.errors import BadInput, MissingWeights
from backends.images import decoding
from backends.local import Local
from backends.local.control.maps import PREPROCESSORS, control_map
from tests.backends.local.tiny import models as tiny

SIZES = [(64, 64), (128, 128), (200, 136), (512, 384)]


def drawing(width: int = 160, height: int = 120) -> Image.Image:
    """Dark strokes on white, as a person draws them, and one patch of colour."""
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse(
        (width // 4, height // 4, width * 3 // 4, height * 3 // 4), outline="black", width=4
    )
    pen.rectangle((4, 4, width // 5, height // 5), fill="red")
    return picture


def saved(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


async def map_of(
    data: bytes, size: tuple[int, int], preprocessor: str = "none", **parameters: Value
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    control = Control(image=data, preprocessor=preprocessor, parameters=parameters)
    picture = Image.open(io.BytesIO(await control_map(control, *size)))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", size)
    return np.asarray(picture)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["none", "invert", "canny", "shuffle", "lineart_standard"])
async def test_a_map_has_the_generations_size_and_is_the_same_again(
    name: str, size: tuple[int, int]
) -> None:
    first = await map_of(saved(drawing()), size, name)
    again = await map_of(saved(drawing()), size, name)
    assert first.max() > first.min()
    assert (first == again).all()


@pytest.mark.parametrize("size", SIZES)
async def test_edges_are_as_crisp_as_opencv_draws_them(size: tuple[int, int]) -> None:
    drawn = await map_of(saved(drawing(*size)), size, "canny")
    expected = cv2.Canny(np.asarray(drawing(*size)), 100, 200)
    assert set(np.unique(drawn)) == {0, 255}
    assert (drawn == expected[:, :, None]).all()


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("turned", [False, True])
async def test_a_large_picture_is_scaled_early_and_keeps_its_details(
    form: str, turned: bool
) -> None:
    """Wide or high, with lines that vanish where its longer side alone decides the scale."""
    lines = Image.fromarray(np.full((512, 8000), 255, np.uint8)).convert("RGB")
    for y in range(0, 512, 16):
        lines.paste("black", (0, y, 8000, y + 8))
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    size = (64, 512) if not turned else (512, 64)
    drawn = await map_of(saved(lines, form, exif=exif), size, "canny")
    across = drawn[32, :, 0] if turned else drawn[:, 32, 0]
    assert (across > 0).sum() >= 32, "the lines have no edges"


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size() -> None:
    large = saved(Image.new("RGB", (4000, 3000), "red"), "JPEG")
    assert decoding.read_image(large, enough=(64, 64)).size == (250, 188)
    assert decoding.read_image(large).size == (4000, 3000)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_pictures_of_every_mode_are_scaled_early(mode: str) -> None:
    large = saved(Image.new("RGB", (600, 400), "white").convert(mode))
    picture = decoding.read_image(large, enough=(40, 40))
    assert picture.mode == "RGB" and min(picture.size) >= 80
    assert picture.getpixel((3, 3)) == (255, 255, 255)


async def test_thresholds_reach_the_detector() -> None:
    faint = Image.new("RGB", (128, 128), (120, 120, 120))
    ImageDraw.Draw(faint).rectangle((40, 40, 90, 90), fill=(140, 140, 140))
    assert not (await map_of(saved(faint), (128, 128), "canny")).any()
    found = await map_of(saved(faint), (128, 128), "canny", low_threshold=10, high_threshold=20)
    assert found.any()


async def test_settings_of_another_preprocessor_do_no_harm() -> None:
    plain = await map_of(saved(drawing()), (64, 64), "canny")
    assert (await map_of(saved(drawing()), (64, 64), "canny", gaussian_sigma=2.0) == plain).all()


async def test_another_seed_shuffles_otherwise_and_leaves_numpys_dice_alone() -> None:
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    first = await map_of(saved(drawing()), (128, 128), "shuffle")
    assert np.random.random() == expected
    other = await map_of(saved(drawing()), (128, 128), "shuffle", seed=1)
    assert (first != other).any()


async def test_invert_turns_strokes_into_light() -> None:
    plain = await map_of(saved(drawing()), (64, 64))
    turned = await map_of(saved(drawing()), (64, 64), "invert")
    assert (turned == 255 - plain).all()


async def test_transparency_is_laid_on_white() -> None:
    glass = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert (await map_of(saved(glass), (64, 64)) == 255).all()


async def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue")]
    gif = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (await map_of(gif, (64, 64)) == [255, 0, 0]).all()


async def test_cmyk_is_converted() -> None:
    inks = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    red, green, blue = (await map_of(saved(inks, "JPEG"), (64, 64)))[32, 32]
    assert red > 200 and max(green, blue) < 60


RAMP = np.tile(np.linspace(0, 1, 64), (64, 1))
HOLES = np.where(RAMP < 0.1, np.nan, np.where(RAMP > 0.9, np.inf, 2 + 8 * RAMP))


@pytest.mark.parametrize("name", [decoding.CONTROL, decoding.START])
@pytest.mark.parametrize(
    ("values", "darkest", "brightest"),
    [
        pytest.param(RAMP.astype("float32"), 0, 255, id="floats from 0 to 1"),
        pytest.param((RAMP / 2).astype("float32"), 0, 128, id="floats from 0 to a half"),
        pytest.param(RAMP * 10.3 + 0.5, 0, 255, id="metres, 64 bit"),
        pytest.param((RAMP * 2 - 1).astype("float32"), 0, 255, id="floats from -1 to 1"),
        pytest.param(np.rint(RAMP * 200).astype("float32"), 0, 200, id="8 bit as floats"),
        pytest.param(HOLES.astype("float32"), 0, 255, id="floats with holes"),
        pytest.param((RAMP * 65535).astype("int32"), 0, 255, id="16 bit as 32"),
        pytest.param((RAMP * 2e9).astype("int32"), 0, 255, id="32 bit"),
        pytest.param((RAMP * 2000 - 1000).astype("int32"), 0, 255, id="heights below zero"),
        pytest.param((RAMP * 200).astype("int32"), 0, 200, id="8 bit as 32"),
        pytest.param((RAMP > 0.5).astype("int32"), 0, 255, id="a mask of 0 and 1"),
        pytest.param((RAMP * 65535).astype("uint16"), 0, 255, id="16 bit"),
        pytest.param((RAMP * 65535).astype(">u2"), 0, 255, id="16 bit, big-endian"),
        pytest.param((RAMP * 9000).astype("uint16"), 0, 140, id="millimetres"),
        pytest.param((RAMP * 4000).astype("uint16"), 0, 249, id="12 bit"),
        pytest.param(np.full((64, 64), 7.5, "float32"), 0, 0, id="one distance everywhere"),
    ],
)
def test_greys_of_every_depth_are_scaled(
    values: Any, darkest: int, brightest: int, name: str
) -> None:
    data = saved(
        Image.fromarray(values.astype("float32") if values.dtype == "f8" else values), "TIFF"
    )
    grey = np.asarray(decoding.read_image(data, name))[32, :, 0]
    assert (grey.min(), grey.max()) == (darkest, brightest)
    assert len(np.unique(grey)) >= min(50, len(np.unique(values[np.isfinite(values)])))
    assert (np.diff(grey.astype(int)) >= 0).all(), "what was brighter still is"


async def test_a_picture_without_numbers_is_refused() -> None:
    data = saved(Image.fromarray(np.full((64, 64), np.nan, "float32")), "TIFF")
    with pytest.raises(BadInput, match="control picture has no brightness: none of its values"):
        await map_of(data, (64, 64))
    with pytest.raises(BadInput, match="start picture has no brightness"):
        decoding.prepare_init_image(data, 64, 64)


@pytest.mark.parametrize("preprocessor", ["none", "invert", "canny"])
async def test_a_float_depth_map_becomes_a_map(preprocessor: str) -> None:
    data = saved(Image.fromarray((RAMP > 0.5).astype("float32") * 0.8), "TIFF")
    assert (await map_of(data, (64, 64), preprocessor)).std() > 10


async def test_sixteen_bits_keep_their_greys() -> None:
    grey = Image.fromarray(np.full((64, 64), 32768, np.uint16))
    assert abs(int((await map_of(saved(grey), (64, 64)))[0, 0, 0]) - 128) <= 1


async def test_a_photograph_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    lying = Image.new("RGB", (64, 32), "black")
    lying.paste("white", (0, 0, 32, 32))
    upright = await map_of(saved(lying, exif=exif), (32, 64))
    assert upright[:30].min() == 255 and upright[34:].max() == 0


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in a few hundred bytes: the header says so."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be read"),
        (b"not a picture at all", "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "cannot be read"),
        (saved(drawing())[:300], "damaged"),
        (saved(drawing(), "JPEG")[:900], "damaged"),
        (saved(Image.new("RGB", (1, 1))), "too small: 1x1"),
        (bomb(), "too large"),
        (saved(Image.new("1", (12_000, 8_000))), "too large"),
    ],
)
async def test_a_bad_picture_is_a_sentence(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        await map_of(data, (64, 64), "canny")


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("cubism", {}, "no preprocessor 'cubism'"),
        ("canny", {"depth": 3}, "No preprocessor has a setting 'depth'"),
        ("canny", {"low_threshold": "low"}, "must be a number"),
    ],
)
async def test_a_bad_setting_is_a_sentence(
    name: str, parameters: dict[str, Value], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        await map_of(saved(drawing()), (64, 64), name, **parameters)


async def test_weights_that_cannot_be_had_are_a_sentence() -> None:
    with pytest.raises(MissingWeights, match="preprocessor hed are neither on this machine nor"):
        await map_of(saved(drawing()), (64, 64), "hed")


def test_what_downloads_says_what() -> None:
    free = {name for name, one in PREPROCESSORS.items() if not one.download}
    assert free == {"none", "invert", "canny", "shuffle", "lineart_standard"}
    assert all(
        (one.weights and "MB" in one.download) or "GB" in one.download
        for one in PREPROCESSORS.values()
        if one.download
    )


@pytest.fixture(scope="module")
def steerable(tmp_path_factory: pytest.TempPathFactory) -> Model:
    here = tmp_path_factory.mktemp("control")
    folder = tiny.diffusion(here / "model")
    return tiny.model(folder, controls={"*": str(tiny.controlnet(here / "net", folder))})


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def draw(local: Local, model: Model, *controls: Control) -> tuple[bytes, Receipt]:
    request = Request(prompt="a red circle", seed=5, controls=controls)
    events = [event async for event in local.generate(model, request)]
    [picture] = [event for event in events if isinstance(event, Picture)]
    assert isinstance(events[-1], Receipt)
    return picture.data, events[-1]


async def test_a_control_picture_changes_the_picture(local: Local, steerable: Model) -> None:
    data = saved(drawing())
    plain, _ = await draw(local, steerable)
    steered, receipt = await draw(local, steerable, Control(image=data))
    weak, _ = await draw(local, steerable, Control(image=data, weight=0.2))
    early, _ = await draw(local, steerable, Control(image=data, end=0.3))
    blank, _ = await draw(local, steerable, Control(image=saved(Image.new("RGB", (64, 64)))))
    assert len({plain, steered, weak, early, blank}) == 5
    assert receipt.honoured["control"].used == "canny"

    again, _ = await draw(local, steerable)
    assert again == plain
    without, _ = await draw(local, steerable, Control(image=data, weight=0.0))
    assert without == plain


async def test_what_cannot_be_steered_says_so(
    local: Local, steerable: Model, tmp_path: Path
) -> None:
    controls = dict(steerable.controls)
    masked = tiny.model(tiny.masked(tmp_path / "masked"), controls=controls)
    with pytest.raises(BadInput, match="cannot be steered"):
        await draw(local, masked, Control(image=saved(drawing())))


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.8, 0.2), (-0.1, 1.0), (0.0, 1.5)])
async def test_a_span_that_makes_no_sense_is_a_sentence(
    local: Local, steerable: Model, start: float, end: float
) -> None:
    control = Control(image=saved(drawing()), start=start, end=end)
    with pytest.raises(BadInput, match="start before it ends"):
        await draw(local, steerable, control)


async def test_a_controlnet_that_is_not_there_is_a_sentence(
    local: Local, steerable: Model, tmp_path: Path
) -> None:
    lost = tiny.model(steerable.source, controls={"*": str(tmp_path / "nothing")})
    with pytest.raises(MissingWeights, match="the ControlNet of Tiny is not there"):
        await draw(local, lost, Control(image=saved(drawing())))
