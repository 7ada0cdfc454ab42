"""Hugging Face's providers start from a picture: what each is asked, and how it fails."""

import base64
import io
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from backends.base import Applied, Event, Model, Request
from backends.errors import (
    BackendError,
    BadInput,
    Refused,
    RetiredModel,
    ServiceFault,
    Unanswered,
)
from backends.huggingface.providers import EDITORS
from compare.catalogue.catalogue import load
from tests.backends.huggingface.case import attempt, by, draw
from tests.backends.huggingface.harness import FLAGGED, MODEL, TOKEN
from tests.backends.openai.case import kinds, pictures_of, receipt_of
from tests.servers import pictures
from tests.servers.huggingface import HuggingFaceServer, Script

EDITOR = replace(MODEL, supports=MODEL.supports | {"image"}, defaults={})
START = pictures.plain(128, 64)
URL = f"data:image/png;base64,{base64.b64encode(START).decode()}"
ASK = Request(prompt="in the rain", image=START, num_inference_steps=20, seed=7)
SIZE = {"width": 1344, "height": 768}
QUEUE = "/fal-ai/maker/model/requests/0"

WORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "fal-ai": (
        "/maker/model?_subdomain=queue",
        {
            "image_url": URL,
            "image_urls": [URL],
            "prompt": "in the rain",
            "num_inference_steps": 20,
            "seed": 7,
        },
    ),
    "hf-inference": (
        "/models/maker/model",
        {
            "inputs": URL.partition(",")[2],
            "parameters": {"prompt": "in the rain", "num_inference_steps": 20, "seed": 7},
        },
    ),
    "replicate": (
        "/v1/models/maker/model/predictions",
        {
            "input": {
                "image": URL,
                "images": [URL],
                "input_image": URL,
                "input_images": [URL],
                "prompt": "in the rain",
                "num_inference_steps": 20,
                "seed": 7,
            }
        },
    ),
    "together": (
        "/v1/images/generations",
        {
            "prompt": "in the rain",
            "reference_images": [URL],
            "response_format": "base64",
            "steps": 20,
            "seed": 7,
            "model": "maker/model",
        },
    ),
    "wavespeed": (
        "/api/v3/maker/model",
        {"image": URL, "prompt": "in the rain", "num_inference_steps": 20, "seed": 7},
    ),
}
SIZED: dict[str, dict[str, Any]] = {
    "fal-ai": {"image_size": SIZE},
    "hf-inference": {"target_size": SIZE},
    "replicate": {},
    "together": SIZE,
    "wavespeed": {"size": "1344*768"},
}


@pytest.fixture(autouse=True)
def editing(server: HuggingFaceServer) -> None:
    """Let everybody change pictures; the pictures that come are of another size."""
    for listed in server.serving.values():
        listed["task"] = "image-to-image"
    server.usual = Script(picture=pictures.noise(96, 48))


async def edit(
    server: HuggingFaceServer, provider: str = "auto", request: Request = ASK
) -> list[Event]:
    return await draw(server, by(provider, request), EDITOR)


async def fails(
    server: HuggingFaceServer, script: Script, provider: str = "fal-ai", **settings: str
) -> BackendError:
    """The error that a job ends in; it was asked for once, whatever became of it."""
    server.usual = script
    events, error = await attempt(server, by(provider, ASK), EDITOR, **settings)
    assert kinds(events) == ["Sending"]
    assert len(server.generations) == 1
    assert error is not None and "{" not in str(error)
    return error


def test_who_can_be_asked_is_whom_the_package_knows() -> None:
    from huggingface_hub.inference._providers import PROVIDERS

    assert {name for name, tasks in PROVIDERS.items() if "image-to-image" in tasks} == EDITORS


@pytest.mark.parametrize("provider", sorted(EDITORS))
async def test_each_provider_gets_it_in_its_own_words(
    server: HuggingFaceServer, provider: str
) -> None:
    path, body = WORDS[provider]
    got = await edit(server, provider)
    assert kinds(got) == ["Sending", "Picture", "Receipt"]
    (made,) = pictures_of(got)
    assert made.data == pictures.noise(96, 48), "the bytes as they came"
    (received,) = server.generations
    assert received.path == f"/{provider}{path}"
    assert received.json == body
    assert received.headers["content-type"] == "application/json"
    assert received.headers["authorization"] == f"Bearer {TOKEN}"
    honoured = receipt_of(got).honoured
    assert honoured["image"] == Applied("start picture", "start picture")
    assert honoured["size"] == Applied(None, "96x48"), "nobody asked for a size"
    assert honoured["provider"].used == provider


@pytest.mark.parametrize("provider", sorted(EDITORS))
async def test_a_size_that_was_asked_for(server: HuggingFaceServer, provider: str) -> None:
    got = await edit(server, provider, replace(ASK, **SIZE))
    body = server.generations[0].json
    words = body.get("input", body.get("parameters", body))
    known = WORDS[provider][1]
    assert {name: words[name] for name in words.keys() - _words(known).keys()} == SIZED[provider]
    assert receipt_of(got).honoured["size"].note == "96x48 instead of 1344x768"


async def test_kontext_on_replicate_keeps_the_shape_unless_asked(
    server: HuggingFaceServer,
) -> None:
    server.serving["replicate"]["providerId"] = "black-forest-labs/flux-kontext-dev"
    await edit(server, "replicate", replace(ASK, guidance_scale=2.5))
    await edit(server, "replicate", replace(ASK, **SIZE))
    first, second = (received.json["input"] for received in server.generations)
    assert first["input_image"] == URL and "aspect_ratio" not in first
    assert (first["guidance"], first["output_format"]) == (2.5, "png")
    assert "guidance_scale" not in first and "target_size" not in first
    assert second["aspect_ratio"] == "16:9"


async def test_kontext_on_together_has_a_name_of_its_own_for_it(server: HuggingFaceServer) -> None:
    server.serving["together"]["providerId"] = "black-forest-labs/FLUX.1-kontext-dev"
    await edit(server, "together")
    body = server.generations[0].json
    assert body["image_url"] == URL and "reference_images" not in body


async def test_a_jpeg_is_called_one_and_a_gif_becomes_a_png(server: HuggingFaceServer) -> None:
    for form in ("JPEG", "GIF"):
        out = io.BytesIO()
        Image.new("RGB", (32, 32)).save(out, form)
        await edit(server, "together", replace(ASK, image=out.getvalue()))
    jpeg, gif = (received.json["reference_images"][0] for received in server.generations)
    assert jpeg.startswith("data:image/jpeg;base64,") and gif.startswith("data:image/png;base64,")


async def test_strength_is_said_to_be_ignored(server: HuggingFaceServer) -> None:
    got = await edit(server, "together", replace(ASK, strength=0.4))
    assert "strength" not in server.generations[0].json
    honour = receipt_of(got).honoured["strength"]
    assert honour.used is None and honour.note.startswith("strength ignored")


async def test_several_are_several_calls_with_the_same_picture(server: HuggingFaceServer) -> None:
    got = await edit(server, "fal-ai", replace(ASK, count=3))
    assert len(pictures_of(got)) == 3
    assert sorted(received.json["seed"] for received in server.generations) == [7, 8, 9]
    assert {received.json["image_url"] for received in server.generations} == {URL}


async def test_without_a_start_picture_the_same_model_draws_where_it_is_served_so(
    server: HuggingFaceServer,
) -> None:
    server.serving["together"]["task"] = "text-to-image"
    got = await draw(server, Request(prompt="a lighthouse"), EDITOR)
    assert server.generations[0].path.startswith("/together/")
    assert "image" not in receipt_of(got).honoured


# ── who is asked ──────────────────────────────────────────────────────────────────────────────────


async def test_auto_passes_over_who_only_draws_from_text(server: HuggingFaceServer) -> None:
    server.serving["fal-ai"]["task"] = "text-to-image"
    server.serving["hf-inference"]["status"] = "error"
    got = await edit(server)
    assert receipt_of(got).honoured["provider"] == Applied("auto", "replicate"), "not Nscale either"


@pytest.mark.parametrize("provider", ["nscale", "fal-ai"])
async def test_a_provider_that_takes_none(server: HuggingFaceServer, provider: str) -> None:
    server.serving["fal-ai"]["task"] = "text-to-image"
    events, error = await attempt(server, by(provider, ASK), EDITOR)
    assert isinstance(error, BadInput) and "from a start picture" in str(error)
    assert str(error).endswith("hf-inference, replicate, together, wavespeed.")
    assert events == [] and server.generations == []


async def test_a_model_that_only_draws_and_one_that_only_changes(
    server: HuggingFaceServer,
) -> None:
    events, error = await attempt(server, Request(prompt="a lighthouse"), EDITOR)
    assert isinstance(error, BadInput) and "only changes a picture" in str(error)
    for listed in server.serving.values():
        listed["task"] = "text-to-image"
    also, error = await attempt(server, ASK, EDITOR)
    assert isinstance(error, BadInput) and "takes a start picture" in str(error)
    server.serving = {}
    neither, error = await attempt(server, ASK, EDITOR)
    assert isinstance(error, RetiredModel)
    assert events == also == neither == [] and server.generations == []


async def test_a_start_picture_of_no_use_is_sent_to_nobody(server: HuggingFaceServer) -> None:
    events, error = await attempt(server, replace(ASK, image=b"words"), EDITOR)
    assert isinstance(error, BadInput) and "start picture" in str(error)
    assert events == [] and server.requests == []


# ── Fal's queue ───────────────────────────────────────────────────────────────────────────────────


async def test_fals_queue_is_asked_until_the_picture_is_there(server: HuggingFaceServer) -> None:
    server.usual = Script(looks=(True, 503, True), picture=pictures.noise(32, 32))
    got = await edit(server, "fal-ai")
    assert pictures_of(got)[0].data == pictures.noise(32, 32)
    assert pictures_of(got)[0].seed == 11 and receipt_of(got).generate == 0.25
    assert len(server.generations) == 1
    asked = [each.path for each in server.requests if "/requests/" in each.path]
    assert asked == [f"{QUEUE}/status?_subdomain=queue"] * 4 + [f"{QUEUE}?_subdomain=queue"]


@pytest.mark.parametrize("state", ["IN_PROGRESS", "IN_QUEUE", "RETRYING"])
async def test_fals_queue_waits_in_any_state_but_its_end(
    server: HuggingFaceServer, state: str
) -> None:
    server.usual = Script(looks=(True, True), waiting=state)
    assert len(pictures_of(await edit(server, "fal-ai"))) == 1


async def test_fal_refuses_the_picture_or_the_prompt(server: HuggingFaceServer) -> None:
    error = await fails(server, Script(result=422, error={"detail": [FLAGGED]}))
    assert isinstance(error, Refused)


async def test_fal_withholds_what_it_made(server: HuggingFaceServer) -> None:
    error = await fails(server, Script(withheld=True))
    assert isinstance(error, Refused) and error.charged is None


async def test_fal_cannot_open_the_picture(server: HuggingFaceServer) -> None:
    said = {"loc": ["body", "image_url"], "msg": "Could not load the image", "type": "image_load"}
    error = await fails(server, Script(result=422, error={"detail": [said]}))
    assert type(error) is BadInput
    assert str(error) == "Fal does not take this request: Could not load the image."


async def test_fal_fails_at_it(server: HuggingFaceServer) -> None:
    error = await fails(server, Script(result=500, error={"detail": "Internal server error"}))
    assert type(error) is ServiceFault and str(error).startswith("Fal failed")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (504, "request_timeout"),
        (504, "startup_timeout"),
        (503, "runner_disconnected"),
        (503, "runner_connection_refused"),
    ],
)
@pytest.mark.parametrize("named", ["body", "header"])
async def test_fal_says_that_a_job_has_ended_without_a_picture(
    server: HuggingFaceServer, status: int, kind: str, named: str
) -> None:
    said: dict[str, Any] = {"detail": "The lamp went out"}
    headers = {"X-Fal-Error-Type": kind}
    script = Script(result=status, error={**said, "error_type": kind})
    if named == "header":
        script = Script(result=status, error=said, headers=headers)
    error = await fails(server, script, LINEUP_ANSWER_SECONDS="8")
    assert type(error) is ServiceFault and error.charged is None
    assert str(error) == "Fal could not finish the picture: The lamp went out."
    results = [each.path for each in server.requests if each.path.startswith(f"{QUEUE}?")]
    assert len(results) == 1, "the result is asked for once"


@pytest.mark.parametrize("script", [Script(result=404), Script(looks=(404,))])
async def test_fal_forgets_it(server: HuggingFaceServer, script: Script) -> None:
    error = await fails(server, script)
    assert isinstance(error, ServiceFault) and "may have been billed" in str(error)


async def test_fals_queue_does_not_end(server: HuggingFaceServer) -> None:
    script = Script(looks=(True,) * 100)
    error = await fails(server, script, LINEUP_ANSWER_SECONDS="1")
    assert isinstance(error, Unanswered)


@pytest.mark.parametrize("raw", [b'{"status": "IN_QUEUE"}', b'{"status": "COMPLETED"}', b"{}"])
async def test_fals_queue_says_nothing_of_use(server: HuggingFaceServer, raw: bytes) -> None:
    error = await fails(server, Script(raw=raw))
    assert isinstance(error, ServiceFault) and error.charged is None


# ── others ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("provider", sorted(EDITORS))
@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (Script(status=400, error={"error": "The image was flagged as unsafe"}), Refused),
        (Script(status=413, error={"error": "Payload too large"}), BadInput),
        (Script(status=500, error={"error": "Internal server error"}), ServiceFault),
        (Script(cut=1), Unanswered),
    ],
)
async def test_a_refused_request_is_not_sent_again(
    server: HuggingFaceServer, provider: str, script: Script, kind: type[BackendError]
) -> None:
    assert type(await fails(server, script, provider)) is kind


# ── the catalogue's entries ───────────────────────────────────────────────────────────────────────


def entries() -> list[Model]:
    models = [model for model in load().models if model.backend == "huggingface"]
    return [model for model in models if "image" in model.supports]


@pytest.mark.parametrize("model", entries(), ids=lambda model: model.id)
async def test_an_entry_changes_a_picture(server: HuggingFaceServer, model: Model) -> None:
    got = await draw(server, Request(prompt="in the rain", image=START), model)
    assert len(pictures_of(got)) == 1
    assert server.generations[0].json["image_url"] == URL


def _words(body: dict[str, Any]) -> dict[str, Any]:
    return body.get("input", body.get("parameters", body))
