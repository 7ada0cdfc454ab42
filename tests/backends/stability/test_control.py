"""A control picture on its way to Stability AI."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from backends.base import Applied, Control, Request, Value
from backends.errors import BadInput
from tests.backends.stability.case import ASK, attempt, draw, receipt_of
from tests.servers import pictures
from tests.servers.stability import Script, StabilityServer

DRAWING = pictures.plain(320, 200)


def steered(
    preprocessor: str, image: bytes = DRAWING, *, weight: float = 1.0, end: float = 1.0
) -> Request:
    control = Control(image=image, preprocessor=preprocessor, weight=weight, end=end)
    return replace(ASK, controls=(control,))


def sent(server: StabilityServer) -> Image.Image:
    """The picture that the server got."""
    image = server.forms[-1].image
    assert image is not None
    return Image.open(io.BytesIO(image))


async def test_one_control_is_sent_and_the_others_are_named(server: StabilityServer) -> None:
    controls = (
        Control(image=DRAWING, preprocessor="openpose"),
        Control(image=DRAWING, preprocessor="hed"),
        Control(image=DRAWING, preprocessor="canny"),
    )
    honoured = receipt_of(await draw(server, "control", replace(ASK, controls=controls))).honoured
    (form,) = server.forms
    assert form.path == "control/structure"
    assert "no ControlNet for openpose" in honoured["control"].note
    assert honoured["control_2"].used == "structure"
    assert honoured["control_3"].note == "control picture 3 ignored: Stable Image Control takes one"


@pytest.mark.parametrize(
    ("preprocessor", "way"),
    [
        ("none", "sketch"),
        ("invert", "sketch"),
        ("lineart", "sketch"),
        ("canny", "structure"),
        ("hed", "structure"),
        ("mlsd", "structure"),
        ("midas", "structure"),
        ("normalbae", "structure"),
    ],
)
async def test_the_preprocessor_decides_the_way(
    server: StabilityServer, preprocessor: str, way: str
) -> None:
    server.usual = Script(picture=DRAWING)
    events = await draw(server, "control", steered(preprocessor))
    (form,) = server.forms
    assert form.path == f"control/{way}"
    assert form.fields == {
        "prompt": "a lighthouse",
        "control_strength": "1",
        "output_format": "png",
    }
    taken = receipt_of(events).honoured["control"]
    assert (taken.requested, taken.used) == (preprocessor, way)


async def test_rough_strokes_are_a_sketch(server: StabilityServer) -> None:
    parameters: dict[str, Value] = {"scribble": True}
    control = Control(image=DRAWING, preprocessor="hed", parameters=parameters)
    await draw(server, "control", replace(ASK, controls=(control,)))
    assert server.forms[0].path == "control/sketch"


async def test_it_is_said_that_the_picture_itself_is_sent(server: StabilityServer) -> None:
    honoured = receipt_of(await draw(server, "control", steered("canny"))).honoured
    assert honoured["control"].note == "the picture itself was sent, not its canny map"
    honoured = receipt_of(await draw(server, "control", steered("none"))).honoured
    assert honoured["control"] == Applied("none", "sketch")


async def test_the_picture_is_sent_upright_and_in_its_own_size(server: StabilityServer) -> None:
    lying = Image.new("RGB", (320, 200), "white")
    lying.paste("black", (0, 0, 160, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    out = io.BytesIO()
    lying.save(out, "JPEG", exif=exif)
    server.usual = Script(picture=pictures.plain(200, 320))
    events = await draw(server, "control", steered("canny", out.getvalue()))
    got = sent(server)
    assert (got.format, got.size) == ("PNG", (200, 320))
    upper, lower = got.getpixel((100, 10)), got.getpixel((100, 310))
    assert isinstance(upper, tuple) and isinstance(lower, tuple)
    assert upper[0] < 20 and lower[0] > 235
    assert receipt_of(events).honoured["size"] == Applied(None, "200x320")


async def test_the_wished_size_is_given_to_the_picture(server: StabilityServer) -> None:
    server.usual = Script(picture=pictures.plain(1000, 700))
    asked = replace(steered("none"), width=1000, height=700)
    events = await draw(server, "control", asked)
    assert sent(server).size == (1000, 700)
    assert receipt_of(events).honoured["size"] == Applied("1000x700", "1000x700")


@pytest.mark.parametrize(
    ("own", "size"),
    [((4000, 3000), (1536, 1152)), ((32, 48), (64, 96)), ((1536, 640), (1536, 640))],
)
async def test_a_picture_is_brought_within_the_limits(
    server: StabilityServer, own: tuple[int, int], size: tuple[int, int]
) -> None:
    await draw(server, "control", steered("none", pictures.plain(*own)))
    assert sent(server).size == size


async def test_even_noise_stays_below_the_apis_ten_megabytes(server: StabilityServer) -> None:
    noise = Image.effect_noise((1536, 1536), 80).convert("RGB")
    out = io.BytesIO()
    noise.save(out, "PNG", compress_level=1)
    await draw(server, "control", steered("none", out.getvalue()))
    assert len(server.generations[0].body) < 10 * 2**20


async def test_a_strip_is_refused_before_it_is_sent(server: StabilityServer) -> None:
    _, error = await attempt(server, "control", steered("none", pictures.plain(900, 100)))
    assert isinstance(error, BadInput) and "900x100" in str(error)
    assert not server.requests


async def test_weight_and_range_are_what_the_api_knows_of_them(server: StabilityServer) -> None:
    events = await draw(server, "control", steered("none", weight=0.6))
    assert server.forms[0].fields["control_strength"] == "0.6"
    assert receipt_of(events).honoured["control"].note == ""
    events = await draw(server, "control", steered("none", weight=1.5, end=0.5))
    assert server.forms[1].fields["control_strength"] == "1"
    assert receipt_of(events).honoured["control"].note == (
        "weight 1 instead of 1.5; start and end ignored: the picture steers all the way"
    )


async def test_without_a_picture_there_is_nothing_to_draw_after(server: StabilityServer) -> None:
    for asked in (ASK, steered("openpose")):
        _, error = await attempt(server, "control", asked)
        assert isinstance(error, BadInput) and "canny" in str(error)
    assert not server.requests


async def test_a_broken_picture_is_refused(server: StabilityServer) -> None:
    _, error = await attempt(server, "control", steered("none", b"not a picture"))
    assert isinstance(error, BadInput)
    assert not server.requests


async def test_other_models_say_that_they_take_none(server: StabilityServer) -> None:
    events = await draw(server, "core", steered("canny"))
    assert server.forms[0].image is None
    assert receipt_of(events).honoured["control"].note.startswith("control picture ignored")
