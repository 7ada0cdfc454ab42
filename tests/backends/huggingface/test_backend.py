"""The Hugging Face backend against a real server: what each provider is asked."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from backends.base import (
    Applied,
    Control,
    Model,
    Request,
    Sending,
)
from backends.errors import (
    BadInput,
    RetiredModel,
)
from compare.catalogue.catalogue import load
from compare.pricing import BillableWork, estimate, settle
from tests.backends.huggingface.case import ASK, attempt, backend, by, draw
from tests.backends.huggingface.harness import MODEL, TOKEN
from tests.backends.openai.case import kinds, pictures_of, receipt_of
from tests.servers import pictures
from tests.servers.huggingface import PROVIDERS, HuggingFaceServer, Script

SHARED = {
    "negative_prompt": "people",
    "num_inference_steps": 20,
    "guidance_scale": 4.0,
    "seed": 7,
}
SIZE = {"width": 1344, "height": 768}
JSON = {"prompt": "a lighthouse", "response_format": "base64", "model": "maker/model"}
WORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "fal-ai": ("/maker/model", {"prompt": "a lighthouse", "image_size": SIZE, **SHARED}),
    "hf-inference": (
        "/models/maker/model",
        {"inputs": "a lighthouse", "parameters": {**SIZE, **SHARED}},
    ),
    "nscale": (
        "/v1/images/generations",
        {**JSON, "response_format": "b64_json", "size": "1344x768"},
    ),
    "replicate": (
        "/v1/models/maker/model/predictions",
        {"input": {"prompt": "a lighthouse", **SIZE, **SHARED}},
    ),
    "together": (
        "/v1/images/generations",
        {
            **JSON,
            **SIZE,
            "negative_prompt": "people",
            "steps": 20,
            "guidance_scale": 4.0,
            "seed": 7,
        },
    ),
    "wavespeed": (
        "/api/v3/maker/model",
        {"prompt": "a lighthouse", **SIZE, "size": "1344*768", **SHARED},
    ),
    "zai-org": (
        "/api/paas/v4/async/images/generations",
        {"prompt": "a lighthouse", "model": "maker/model", "size": "1344x768"},
    ),
}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_each_provider_is_asked_in_its_own_words(server: HuggingFaceServer, provider: str):
    path, body = WORDS[provider]
    picture = pictures.noise(64, 48)
    server.usual = Script(picture=picture)
    got = await draw(server, by(provider, bill_to="lighthouse-keepers"))
    assert kinds(got) == ["Sending", "Picture", "Receipt"]
    (made,) = pictures_of(got)
    assert made.data == picture, "the bytes as they came"
    assert (made.width, made.height, made.media_type) == (64, 48, "image/png")
    (received,) = server.generations
    assert received.path == f"/{provider}{path}"
    assert received.json == body
    assert received.headers["authorization"] == f"Bearer {TOKEN}"
    assert received.headers["x-hf-bill-to"] == "lighthouse-keepers"
    honoured = receipt_of(got).honoured
    assert honoured["provider"] == Applied(provider, provider)
    assert honoured["bill_to"].used == "lighthouse-keepers"
    assert honoured["size"].note == "64x48 instead of 1344x768"


@pytest.mark.parametrize("provider", ["nscale", "zai-org"])
async def test_what_a_provider_does_not_take_is_said(server: HuggingFaceServer, provider: str):
    got = await draw(server, by(provider))
    honoured = receipt_of(got).honoured
    for name in ("seed", "negative_prompt", "num_inference_steps", "guidance_scale"):
        assert honoured[name].used is None
        assert " ignored: " in honoured[name].note
    assert pictures_of(got)[0].seed is None
    quiet = receipt_of(await draw(server, by(provider, Request(prompt="a lighthouse")))).honoured
    assert "seed" not in quiet, "nobody asked for one"


async def test_flux_on_replicate_is_asked_for_a_shape(server: HuggingFaceServer):
    server.serving["replicate"]["providerId"] = "black-forest-labs/flux-dev"
    await draw(server, by("replicate"))
    (received,) = server.generations
    assert received.json["input"] == {
        "prompt": "a lighthouse",
        "negative_prompt": "people",
        "num_inference_steps": 20,
        "seed": 7,
        "guidance": 4.0,
        "aspect_ratio": "16:9",
        "output_format": "png",
    }
    assert received.headers["prefer"] == "wait"


async def test_what_the_model_lacks_is_neither_sent_nor_hidden(server: HuggingFaceServer):
    plain = replace(MODEL, supports=frozenset({"count"}), defaults={})
    asked = replace(ASK, controls=(Control(image=pictures.plain()),))
    got = await draw(server, asked, plain)
    assert server.generations[0].json == {"prompt": "a lighthouse", "image_size": SIZE}
    notes = [honour.note for honour in receipt_of(got).honoured.values() if honour.note]
    assert sum("ignored: FLUX.1-dev takes none" in note for note in notes) == 5


# ── who is asked ──────────────────────────────────────────────────────────────────────────────────


async def test_auto_takes_the_first_that_is_up_and_draws(server: HuggingFaceServer):
    there = server.serving["together"]
    server.serving = {
        "cerebras": {**there, "task": "conversational"},
        "somebody-new": there,
        "fal-ai": {**there, "status": "error"},
        "nscale": {**there, "task": "image-to-image"},
        "together": there,
        "replicate": there,
    }
    got = await draw(server)
    assert server.generations[0].path.startswith("/together/")
    assert receipt_of(got).honoured["provider"] == Applied("auto", "together")


async def test_an_entry_of_one_provider_is_drawn_by_no_other(server: HuggingFaceServer):
    priced = replace(MODEL, options={"provider": "together"})
    got = await draw(server, by("replicate"), priced)
    assert server.generations[0].path.startswith("/together/")
    honour = receipt_of(got).honoured["provider"]
    assert (honour.requested, honour.used) == ("replicate", "together")
    assert honour.note.startswith("provider together instead of replicate")


async def test_the_hub_is_asked_once_for_many_jobs_and_told_no_prompt(server: HuggingFaceServer):
    drawer = backend(server)
    for _ in range(3):
        async for _ in drawer.generate(MODEL, ASK):
            pass
    await drawer.aclose()
    (asked,) = (received for received in server.requests if "/api/models/" in received.path)
    assert asked.path == (
        "/api/models/black-forest-labs/FLUX.1-dev?expand=inferenceProviderMapping"
    )
    assert asked.body == b""
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"


async def test_a_renamed_model_is_found(server: HuggingFaceServer):
    await draw(server, by("together"), replace(MODEL, source="old-name/model"))
    assert [received.path.partition("?")[0] for received in server.requests] == [
        "/api/models/old-name/model",
        "/api/models/maker/model",
        "/together/v1/images/generations",
    ]


async def test_a_provider_that_does_not_serve_it(server: HuggingFaceServer):
    server.serving = {name: server.serving[name] for name in ("nscale", "together")}
    events, error = await attempt(server, by("replicate"))
    assert isinstance(error, BadInput) and "nscale, together" in str(error)
    server.serving = {}
    also, error = await attempt(server)
    assert isinstance(error, RetiredModel)
    assert events == also == [], "nothing was said to be sent"
    assert server.generations == []


# ── seeds and counts ──────────────────────────────────────────────────────────────────────────────


async def test_several_pictures_are_several_calls_with_seeds_that_count_up(
    server: HuggingFaceServer,
):
    got = await draw(server, by("together", replace(ASK, count=3)))
    assert kinds(got) == ["Sending", "Picture", "Picture", "Picture", "Receipt"]
    assert sorted(received.json["seed"] for received in server.generations) == [7, 8, 9]
    assert sorted(picture.seed or 0 for picture in pictures_of(got)) == [7, 8, 9]
    assert receipt_of(got).honoured["count"] == Applied(3, 3)


async def test_a_seed_is_drawn_and_told_where_none_is_asked_for(server: HuggingFaceServer):
    asked = by("together", replace(ASK, seed=None))
    first, second = await draw(server, asked), await draw(server, asked)
    seeds = [received.json["seed"] for received in server.generations]
    assert seeds[0] != seeds[1]
    assert [pictures_of(got)[0].seed for got in (first, second)] == seeds
    assert receipt_of(first).honoured["seed"] == Applied(None, seeds[0])


@pytest.mark.parametrize("seed", [-1, 2**32])
async def test_a_seed_that_nobody_takes(server: HuggingFaceServer, seed: int):
    with pytest.raises(BadInput, match="seed"):
        await draw(server, replace(ASK, seed=seed))
    assert server.requests == []


async def test_what_fal_says_of_its_picture(server: HuggingFaceServer):
    got = await draw(server)
    assert pictures_of(got)[0].seed == 11
    receipt = receipt_of(got)
    assert receipt.generate == 0.25
    assert receipt.download is not None
    assert receipt.charged is None, "no answer names a price"


async def test_a_free_failure_among_several_costs_the_others_nothing(server: HuggingFaceServer):
    server.queue.append(Script(status=429))
    got = await draw(server, by("together", replace(ASK, count=3)))
    assert len(pictures_of(got)) == 2
    count = receipt_of(got).honoured["count"]
    assert (count.requested, count.used) == (3, 2)
    assert count.note.startswith("2 instead of 3 pictures: Together takes no more requests")


@pytest.mark.parametrize(
    ("provider", "state"),
    [
        ("replicate", "starting"),
        ("replicate", "queued"),
        ("wavespeed", "pending"),
        ("wavespeed", "processing"),
        ("zai-org", "QUEUED"),
    ],
)
async def test_a_job_is_waited_for_in_any_state_but_its_end(
    server: HuggingFaceServer, provider: str, state: str
):
    server.usual = Script(looks=(True,), waiting=state)
    events, error = await attempt(server, by(provider))
    assert len(pictures_of(events)) == 1 and error is None
    receipt, waits = receipt_of(events), state in ("starting", "queued", "pending")
    assert receipt.queued is not None and (receipt.queued >= 0.5) is waits  # it is no drawing
    assert receipt.generate is not None and receipt.generate >= 0
    if provider == "replicate":
        assert receipt.generate == 0.5  # as its metrics say


async def test_a_sketch_on_replicate_is_not_the_picture(server: HuggingFaceServer):
    server.usual = Script(looks=(True,), sketch=pictures.plain(8, 8))
    got = await draw(server, by("replicate"))
    assert pictures_of(got)[0].width == 64
    assert not any(each.path.startswith("/sketch/") for each in server.requests)


async def test_pictures_that_came_are_kept_where_another_may_be_billed(server: HuggingFaceServer):
    server.queue.append(Script(cut=10))
    events, error = await attempt(server, by("together", replace(ASK, count=3)))
    assert len(pictures_of(events)) == 2 and error is None
    receipt = receipt_of(events)
    assert receipt.honoured["count"].note.startswith("2 instead of 3 pictures: ")
    assert receipt.may_owe_more


async def test_closing_gives_up_every_call(server: HuggingFaceServer):
    server.usual = Script(delay=30)
    drawer = backend(server)
    async with aclosing(drawer.generate(MODEL, replace(ASK, count=3))) as events:
        assert isinstance(await anext(events), Sending)
        waiting = asyncio.create_task(anext(events))
        await asyncio.to_thread(_until, lambda: len(server.generations) == 3)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    for received in server.generations:
        number = server.requests.index(received)
        assert await asyncio.to_thread(server.wait_until, "client left", number=number)
    await drawer.aclose()


# ── the catalogue's entries ───────────────────────────────────────────────────────────────────────


def entries() -> list[Model]:
    return [model for model in load().models if model.backend == "huggingface"]


@pytest.mark.parametrize("model", entries(), ids=lambda model: model.id)
async def test_an_entry_at_its_price(server: HuggingFaceServer, model: Model):
    provider = model.options.get("provider")
    server.usual = Script(picture=pictures.noise())
    got = await draw(server, Request(prompt="a lighthouse", count=2), model)
    assert len(pictures_of(got)) == 2
    assert server.generations[0].path.startswith(f"/{provider or 'fal-ai'}/")
    asked = Request(prompt="a lighthouse", count=2)
    cost = settle(BillableWork(model=model, request=asked, receipt=receipt_of(got)), 2)
    assert (cost.amount is None) == (provider is None), "known for one provider, else unknown"
    assert model.id.partition("@")[2] == (provider or "")


def test_prices_per_picture():
    costs = {model.id: estimate(model, Request(prompt="a")).low for model in entries()}
    assert costs["huggingface/flux.1-schnell@replicate"] == Decimal("0.003")
    assert costs["huggingface/flux.1-schnell@nscale"] == Decimal("0.0013631488")
    assert costs["huggingface/sdxl-base@nscale"] == Decimal("0.003145728")
    assert costs["huggingface/flux.1-schnell"] is None


def _until(happened: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.01)
