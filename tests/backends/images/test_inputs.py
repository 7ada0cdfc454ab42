"""Hosted backends and servers start from a picture: what is sent, and what comes of it."""

import base64
import io
from dataclasses import replace
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms

from backends.base import Applied, Picture, Progress, Request, Sending
from backends.errors import BadInput, Refused
from backends.images.inputs import as_upload
from tests.backends.a1111 import case as a1111_case
from tests.backends.google import case as google_case
from tests.backends.openai import case as openai_case
from tests.backends.stability import case as stability_case
from tests.servers.a1111 import A1111Server
from tests.servers.a1111_script import Kind
from tests.servers.a1111_script import Script as A1111Script
from tests.servers.google import GoogleServer
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script as OpenAIScript
from tests.servers.openai_script import failing
from tests.servers.pictures import plain
from tests.servers.stability import StabilityServer
from tests.servers.stability import failing as failing_stability

START = plain(128, 64)
ASK = Request(prompt="in the rain", image=START)


def size(data: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(data)).size


def encoded(form: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32)).save(out, form)
    return out.getvalue()


@pytest.mark.parametrize(("form", "name"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_usual_formats_are_sent_as_they_came(form: str, name: str) -> None:
    data = encoded(form)
    assert as_upload(data) == (f"start.{name}", data, f"image/{form.lower()}")


def photographed(form: str, orientation: int, **how: Any) -> bytes:
    """A picture, wider than high, whose left half is red: as a camera held that way saves it."""
    picture = Image.new("RGB", (64, 32), "navy")
    picture.paste("red", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    out = io.BytesIO()
    picture.save(out, form, exif=exif, **how)
    return out.getvalue()


def is_red(picture: Image.Image, across: int, down: int) -> bool:
    """Whether one of the picture's 4x4 parts is."""
    at = 3 * (4 * down + across)
    red, _, blue = picture.convert("RGB").resize((4, 4)).tobytes()[at : at + 3]
    return red > 200 and blue < 60


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_photo_that_lies_on_its_side_is_sent_upright(form: str) -> None:
    name, data, media_type = as_upload(photographed(form, 6))  # to be turned clockwise
    sent = Image.open(io.BytesIO(data))
    assert (sent.format, media_type) == (form, f"image/{form.lower()}")
    assert name.startswith("start.")
    assert sent.size == (32, 64)
    assert is_red(sent, 1, 0) and not is_red(sent, 1, 3), "the left side went to the top"
    assert sent.getexif().get(ExifTags.Base.Orientation, 1) == 1, "nobody turns it once more"


@pytest.mark.parametrize(
    ("orientation", "red"), [(2, (3, 1)), (3, (3, 1)), (4, (0, 1)), (8, (1, 3))]
)
def test_upside_down_and_mirrored_too(orientation: int, red: tuple[int, int]) -> None:
    sent = Image.open(io.BytesIO(as_upload(photographed("JPEG", orientation))[1]))
    assert is_red(sent, *red)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_photo_that_stands_upright_is_sent_as_it_came(form: str) -> None:
    data = photographed(form, 1)
    assert as_upload(data)[1] == data
    senseless = photographed(form, 77)
    assert as_upload(senseless)[1] == senseless


def test_a_turned_photo_keeps_its_colours() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sent = Image.open(io.BytesIO(as_upload(photographed("JPEG", 6, icc_profile=profile))[1]))
    assert sent.info["icc_profile"] == profile


def test_an_exif_that_cannot_be_read_is_no_reason_to_refuse() -> None:
    whole = photographed("JPEG", 6)
    at = whole.index(b"Exif\0\0") + 6
    torn = whole[:at] + b"??" + whole[at + 2 :]
    assert as_upload(torn)[1] == torn


async def test_what_is_asked_for_has_the_shape_of_the_upright_photo() -> None:
    asked = replace(ASK, image=photographed("JPEG", 6))
    with OpenAIServer() as server:
        await openai_case.events(openai_case.backend(server.base_url), request=asked)
    form = server.generations[0].form
    assert form.fields["size"] == "1024x1536"
    assert size(form.files["image"][1]) == (32, 64)


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF"])
def test_others_are_sent_as_png(form: str) -> None:
    name, data, media_type = as_upload(encoded(form))
    assert (name, media_type, size(data)) == ("start.png", "image/png", (32, 32))


@pytest.mark.parametrize("data", [b"", b"words", START[:-30]])
def test_what_is_no_picture_is_the_users_to_mend(data: bytes) -> None:
    with pytest.raises(BadInput, match="start picture"):
        as_upload(data)


async def test_openai_edits_the_picture() -> None:
    asked = replace(ASK, strength=0.4, options={"openai": {"moderation": "low"}})
    with OpenAIServer(OpenAIScript(picture=plain(1536, 1024))) as server:
        drawer = openai_case.backend(server.base_url)
        got = await openai_case.events(drawer, request=asked)
    (received,) = server.generations
    assert received.path == "/v1/images/edits"
    form = received.form
    assert form.files == {"image": ("start.png", START, "image/png")}
    assert form.fields == {
        "model": "gpt-image-2",
        "prompt": "in the rain",
        "size": "1536x1024",
        "quality": "low",
        "stream": "true",
        "partial_images": "2",
    }
    assert received.headers["authorization"] == f"Bearer {openai_case.KEY}"
    assert openai_case.kinds(got) == ["Sending", "Progress", "Progress", "Picture", "Receipt"]
    honoured = openai_case.receipt_of(got).honoured
    assert honoured["image"].note == "" and honoured["strength"].note.startswith("strength ignored")
    assert honoured["moderation"].note.startswith("moderation ignored")


async def test_openai_edits_without_a_stream_too() -> None:
    usage = {
        "input_tokens": 206,
        "input_tokens_details": {"text_tokens": 12, "image_tokens": 194},
        "output_tokens": 196,
    }
    with OpenAIServer(OpenAIScript(stream=False, usage=usage)) as server:
        drawer = openai_case.backend(server.base_url)
        got = await openai_case.events(drawer, request=replace(ASK, count=2))
    assert server.generations[0].form.fields["n"] == "2"
    assert len(openai_case.pictures_of(got)) == 2
    assert openai_case.receipt_of(got).usage["image_input"] == 194


async def test_openai_may_refuse_the_picture() -> None:
    with OpenAIServer(failing(400, "moderation_blocked", "No.")) as server, pytest.raises(Refused):
        await openai_case.events(openai_case.backend(server.base_url), request=ASK)


async def test_a_start_picture_of_no_use_is_never_sent() -> None:
    bad = replace(ASK, image=b"words")
    with OpenAIServer() as server, pytest.raises(BadInput, match="start picture"):
        await openai_case.events(openai_case.backend(server.base_url), request=bad)
    assert server.requests == []
    with GoogleServer() as other, pytest.raises(BadInput, match="start picture"):
        await google_case.events(google_case.backend(other.origin), request=bad)
    assert other.requests == []


async def test_google_gets_it_before_the_prompt() -> None:
    with GoogleServer() as server:
        got = await google_case.events(google_case.backend(server.origin), request=ASK)
    body = server.generations[0].json
    (content,) = body["contents"]
    picture, words = content["parts"]
    # The package spells this one with an underscore and letters that are safe in addresses; the
    # service reads either.
    sent = picture["inlineData"]
    assert sent["mime_type"] == "image/png"
    assert base64.urlsafe_b64decode(sent["data"]) == START
    assert words == {"text": "in the rain"}
    assert body["generationConfig"]["imageConfig"]["aspectRatio"] == "16:9"
    assert google_case.receipt_of(got).honoured["image"].note == ""


async def test_stability_draws_over_it() -> None:
    with StabilityServer() as server:
        got = await stability_case.draw(server, "sd3.5-medium", replace(ASK, seed=7, strength=0.4))
    (form,) = server.forms
    assert form.path == "generate/sd3"
    assert form.fields == {
        "prompt": "in the rain",
        "model": "sd3.5-medium",
        "mode": "image-to-image",
        "strength": "0.4",
        "seed": "7",
        "output_format": "png",
    }
    assert form.image is not None and size(form.image) == (1344, 768)
    assert stability_case.receipt_of(got).honoured["strength"] == Applied(0.4, 0.4)


async def test_ultra_draws_over_it_and_is_told_the_shape_too() -> None:
    with StabilityServer() as server:
        got = await stability_case.draw(server, "ultra", replace(ASK, seed=7, strength=0.4))
        await stability_case.draw(server, "ultra", replace(ASK, width=832, height=1216))
    first, second = server.forms
    assert first.path == "generate/ultra"
    assert first.fields == {
        "prompt": "in the rain",
        "strength": "0.4",
        "seed": "7",
        "aspect_ratio": "16:9",
        "output_format": "png",
    }
    assert first.image is not None and size(first.image) == (1344, 768)
    assert stability_case.receipt_of(got).honoured["strength"] == Applied(0.4, 0.4)
    assert (second.fields["aspect_ratio"], second.fields["strength"]) == ("2:3", "0.7")
    assert second.image is not None and size(second.image) == (832, 1216), "of the same shape"


async def test_ultra_may_refuse_the_picture() -> None:
    with StabilityServer(failing_stability(403, "content_moderation", "No.")) as server:
        _, error = await stability_case.attempt(server, "ultra", ASK)
    assert isinstance(error, Refused) and len(server.generations) == 1


async def test_ultra_draws_from_text_without_one() -> None:
    with StabilityServer() as server:
        await stability_case.draw(server, "ultra", Request(prompt="in the rain"))
    (form,) = server.forms
    assert form.image is None and "strength" not in form.fields


async def test_stabilitys_core_takes_none() -> None:
    with StabilityServer() as server:
        got = await stability_case.draw(server, "core", ASK)
    (form,) = server.forms
    assert form.image is None and "mode" not in form.fields and "aspect_ratio" in form.fields
    assert stability_case.receipt_of(got).honoured["image"].note.startswith("start picture ignored")


async def test_a1111_draws_over_it_and_counts_the_steps_that_are_left() -> None:
    asked = replace(ASK, width=96, height=64, num_inference_steps=20, strength=0.5, count=2)
    with A1111Server(A1111Script(delay=1.5)) as server:
        got = await a1111_case.events(server, asked)
    (received,) = server.generations
    assert received.path == "/sdapi/v1/img2img"
    body = received.json
    assert (body["denoising_strength"], body["steps"], body["n_iter"]) == (0.5, 20, 2)
    (image,) = body["init_images"]
    assert size(base64.b64decode(image)) == (96, 64)
    looks = a1111_case.of(Progress, got)
    assert looks and {look.steps for look in looks} == {22}
    assert len(a1111_case.of(Picture, got)) == 2 and len(a1111_case.of(Sending, got)) == 1


async def test_a1111_steers_it_too() -> None:
    kind = Kind(modules=("none", "canny"), networks=("control_v11p_sd15_canny [d14c016b]",))
    asked = replace(ASK, controls=(a1111_case.CONTROL,))
    with A1111Server(kind=kind) as server:
        await a1111_case.events(server, asked)
    body = server.generations[0].json
    assert server.generations[0].path == "/sdapi/v1/img2img"
    assert body["alwayson_scripts"]["controlnet"]["args"][0]["module"] == "canny"
