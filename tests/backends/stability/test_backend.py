"""The Stability backend against a real server: what it asks for, and what comes of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Applied, Config, Readiness, Request
from backends.errors import BadInput, RateLimited, Refused
from backends.stability import Stability
from tests.backends.stability.case import (
    ASK,
    attempt,
    backend,
    draw,
    model,
    pictures_of,
    receipt_of,
)
from tests.backends.stability.harness import KEY
from tests.servers import pictures
from tests.servers.stability import FILTERED, Script, StabilityServer, failing


async def test_the_request_in_the_apis_words(server: StabilityServer) -> None:
    asked = Request(
        prompt="a lighthouse – am Meer",
        negative_prompt="people",
        width=1920,
        height=1080,
        num_inference_steps=30,
        guidance_scale=4.5,
        seed=7,
    )
    server.usual = Script(picture=pictures.plain(1344, 768))
    events = await draw(server, "sd3.5-large", asked)
    (form,) = server.forms
    assert form.path == "generate/sd3"
    assert form.fields == {
        "prompt": "a lighthouse – am Meer",
        "negative_prompt": "people",
        "model": "sd3.5-large",
        "aspect_ratio": "16:9",
        "cfg_scale": "4.5",
        "seed": "7",
        "output_format": "png",
    }
    assert form.image is None
    (received,) = server.generations
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.headers["accept"] == "application/json"
    honoured = receipt_of(events).honoured
    assert honoured["size"] == Applied("1920x1080", "1344x768", "1344x768 instead of 1920x1080")
    assert honoured["aspect_ratio"] == Applied(None, "16:9")
    assert honoured["num_inference_steps"].note.startswith("steps ignored")
    assert honoured["seed"] == Applied(7, 7)
    (picture,) = pictures_of(events)
    assert picture.data == pictures.plain(1344, 768)
    assert picture.seed == 7


@pytest.mark.parametrize(
    ("name", "path", "source"),
    [
        ("ultra", "generate/ultra", None),
        ("core", "generate/core", None),
        ("sd3.5-large", "generate/sd3", "sd3.5-large"),
        ("sd3.5-large-turbo", "generate/sd3", "sd3.5-large-turbo"),
        ("sd3.5-medium", "generate/sd3", "sd3.5-medium"),
    ],
)
async def test_each_model_has_its_way(
    server: StabilityServer, name: str, path: str, source: str | None
) -> None:
    await draw(server, name)
    (form,) = server.forms
    assert (form.path, form.fields.get("model")) == (path, source)


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ((512, 512), "1:1"),
        ((1536, 1024), "3:2"),
        ((1024, 1536), "2:3"),
        ((1000, 800), "5:4"),
        ((800, 1000), "4:5"),
        ((1080, 1920), "9:16"),
        ((3440, 1440), "21:9"),
        ((1440, 3440), "9:21"),
    ],
)
async def test_a_size_becomes_the_nearest_shape(
    server: StabilityServer, size: tuple[int, int], ratio: str
) -> None:
    await draw(server, "core", replace(ASK, width=size[0], height=size[1]))
    assert server.forms[0].fields["aspect_ratio"] == ratio


async def test_without_a_seed_the_service_chooses_and_says_it(server: StabilityServer) -> None:
    events = await draw(server, "core")
    assert "seed" not in server.forms[0].fields
    assert pictures_of(events)[0].seed == 4_000_000_000


@pytest.mark.parametrize(("asked", "used"), [(0, 4_294_967_294), (4_294_967_295, 1)])
async def test_a_seed_that_the_api_has_not_becomes_one_that_it_has(
    server: StabilityServer, asked: int, used: int
) -> None:
    events = await draw(server, "core", replace(ASK, seed=asked))
    assert server.forms[0].fields["seed"] == str(used)  # 0 would be any seed at all
    assert receipt_of(events).honoured["seed"] == Applied(
        asked, used, f"seed {used} instead of {asked}"
    )


async def test_several_pictures_are_several_calls(server: StabilityServer) -> None:
    events = await draw(server, "core", replace(ASK, seed=7, count=3))
    assert sorted(form.fields["seed"] for form in server.forms) == ["7", "8", "9"]
    assert sorted(picture.seed or 0 for picture in pictures_of(events)) == [7, 8, 9]
    assert receipt_of(events).honoured["count"] == Applied(3, 3)


async def test_a_picture_that_costs_nothing_may_be_missing(server: StabilityServer) -> None:
    server.queue.append(failing(403, "content_moderation", "Your request was flagged."))
    events = await draw(server, "core", replace(ASK, count=2))
    assert len(pictures_of(events)) == 1
    note = receipt_of(events).honoured["count"].note
    assert note.startswith("1 instead of 2 pictures: The server at 127.0.0.1")


async def test_a_missing_picture_that_may_have_been_billed_is_said(server: StabilityServer) -> None:
    server.queue.append(Script(cut=20))
    events, error = await attempt(server, "core", replace(ASK, count=2))
    assert len(pictures_of(events)) == 1 and error is None
    receipt = receipt_of(events)
    note = receipt.honoured["count"].note
    assert note.startswith("1 instead of 2 pictures: ") and "may have been billed" in note
    assert receipt.may_owe_more


async def test_a_blurred_picture_is_a_refusal_and_may_be_billed(server: StabilityServer) -> None:
    server.usual = Script(finish=FILTERED)
    events, error = await attempt(server, "ultra")
    assert isinstance(error, Refused) and error.charged is None
    assert not pictures_of(events)


async def test_a_prompt_that_is_refused_is_not_charged(server: StabilityServer) -> None:
    server.usual = failing(403, "content_moderation", "Your request was flagged.")
    _, error = await attempt(server, "ultra")
    assert isinstance(error, Refused) and error.charged is False


async def test_the_services_own_words_are_passed_on(server: StabilityServer) -> None:
    server.usual = failing(422, "invalid_language", "prompt: English is the only language")
    _, error = await attempt(server, "core")
    assert isinstance(error, BadInput)
    assert str(error).endswith("prompt: English is the only language.")


async def test_a_block_is_waited_out_by_the_person(server: StabilityServer) -> None:
    server.usual = failing(429, "rate_limit_exceeded", "Slow.", retry_after="60")
    _, error = await attempt(server, "core")
    assert isinstance(error, RateLimited) and error.retry_after == 60
    assert len(server.generations) == 1


async def test_options_go_where_they_exist(server: StabilityServer) -> None:
    options = {"stability": {"style_preset": "anime", "output_format": "webp", "sparkle": 1}}
    events = await draw(server, "core", replace(ASK, options=options))
    fields = server.forms[0].fields
    assert (fields["style_preset"], fields["output_format"]) == ("anime", "webp")
    assert receipt_of(events).honoured["sparkle"].note.startswith("sparkle ignored")
    events = await draw(server, "sd3.5-medium", replace(ASK, options=options))
    fields = server.forms[1].fields
    assert "style_preset" not in fields and fields["output_format"] == "png"
    honoured = receipt_of(events).honoured
    assert honoured["style_preset"].note.startswith("style ignored")
    assert honoured["output_format"].note == "PNG instead of WebP"


async def test_an_option_that_there_is_not_is_refused_before_it_is_sent(
    server: StabilityServer,
) -> None:
    _, error = await attempt(
        server, "core", replace(ASK, options={"stability": {"style_preset": "baroque"}})
    )
    assert isinstance(error, BadInput) and "anime" in str(error)
    assert not server.requests


async def test_guidance_stays_within_what_the_api_takes(server: StabilityServer) -> None:
    events = await draw(server, "sd3.5-large", replace(ASK, guidance_scale=15.0))
    assert server.forms[0].fields["cfg_scale"] == "10"
    assert receipt_of(events).honoured["guidance_scale"].note == "guidance scale 10 instead of 15"


async def test_a_distilled_model_takes_no_negative_prompt(server: StabilityServer) -> None:
    asked = replace(ASK, negative_prompt="people", guidance_scale=4.0)
    events = await draw(server, "sd3.5-large-turbo", asked)
    assert server.forms[0].fields.keys() == {"prompt", "model", "aspect_ratio", "output_format"}
    honoured = receipt_of(events).honoured
    assert honoured["negative_prompt"].used is None and honoured["guidance_scale"].used is None


@pytest.mark.parametrize(
    ("settings", "state", "word"),
    [
        ({}, Readiness.NEEDS_KEY, "STABILITY_API_KEY"),
        ({"STABILITY_API_KEY": "sk-1"}, Readiness.READY, ""),
        ({"STABILITY_API_KEY": "sk-ü"}, Readiness.UNAVAILABLE, "STABILITY_API_KEY"),
        (
            {"STABILITY_API_KEY": "sk-1", "STABILITY_BASE_URL": "stability"},
            Readiness.UNAVAILABLE,
            "STABILITY_BASE_URL",
        ),
    ],
)
def test_readiness_names_the_setting(settings: dict[str, str], state: Readiness, word: str) -> None:
    drawer = Stability(Config(value=settings.get, home=Path("unused")))
    ready = drawer.ready(model("core"))
    assert ready.state is state
    assert word in ready.sentence


async def test_a_job_without_a_key_sends_nothing(server: StabilityServer) -> None:
    events, error = await attempt(server, "core", STABILITY_API_KEY="")
    assert error is not None and not events and not server.requests


async def test_one_backend_serves_one_job_after_the_other(server: StabilityServer) -> None:
    drawer = backend(server)
    for _ in range(2):
        events = [event async for event in drawer.generate(model("core"), ASK)]
        assert len(pictures_of(events)) == 1
    await drawer.aclose()
