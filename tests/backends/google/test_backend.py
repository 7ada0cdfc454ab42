"""The Google backend against a real server: what it asks for, what comes of it, what it costs."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from backends.base import Applied, Control, Request, Sending
from compare.catalogue.catalogue import load
from compare.pricing import BillableWork, settle
from tests.backends.google.case import (
    ASK,
    KEY,
    MODEL,
    asked,
    backend,
    events,
    kinds,
    pictures_of,
    receipt_of,
)
from tests.servers import pictures
from tests.servers.google import USAGE, GoogleServer, Script, failing, picture_part

IMAGE = {"modality": "IMAGE", "tokenCount": 1120}


@pytest.fixture
def google() -> Iterator[GoogleServer]:
    with GoogleServer() as running:
        yield running


def sent(google: GoogleServer, number: int = 0) -> dict[str, Any]:
    return google.generations[number].json["generationConfig"]


async def test_one_picture_as_it_came(google: GoogleServer) -> None:
    google.usual = Script(picture=pictures.noise())
    got = await events(backend(google.origin))
    assert kinds(got) == ["Sending", "Picture", "Receipt"]
    (picture,) = pictures_of(got)
    assert picture.data == pictures.noise()
    assert (picture.width, picture.height, picture.media_type) == (1024, 1024, "image/png")
    assert picture.seed is None
    (received,) = google.requests
    assert received.path == "/v1/models/gemini-nano-banana-2.1:generateContent"
    assert received.headers["x-goog-api-key"] == KEY
    assert KEY not in received.path
    assert received.json == {
        "contents": [{"role": "user", "parts": [{"text": "a lighthouse"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "1:1", "imageSize": "1K"},
        },
    }
    honoured = receipt_of(got).honoured
    assert honoured["size"] == Applied(None, "1024x1024")
    assert honoured["aspect_ratio"] == Applied(None, "1:1")
    assert not [honour.note for honour in honoured.values() if honour.note]


async def test_the_request_in_the_apis_words(google: GoogleServer) -> None:
    google.usual = Script(picture=pictures.plain(2752, 1536))
    wish = Request(
        prompt="a lighthouse\n",
        negative_prompt="people",
        width=1920,
        height=1080,
        seed=7,
        guidance_scale=5.0,
        controls=(Control(image=pictures.plain()),),
        options={
            "google": {"image_size": "2K", "thinking_level": "high", "sparkle": 3},
            "openai": {"quality": "high"},
        },
    )
    got = await events(backend(google.origin), request=wish)
    (received,) = google.requests
    assert received.json == {
        "contents": [{"role": "user", "parts": [{"text": "a lighthouse\n\nAvoid: people"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
            "thinkingConfig": {"thinking_level": "HIGH"},  # the API takes either spelling
            "seed": 7,
        },
    }
    assert pictures_of(got)[0].seed == 7
    honoured = receipt_of(got).honoured
    assert honoured["size"] == Applied("1920x1080", "2752x1536", "2752x1536 instead of 1920x1080")
    assert honoured["image_size"] == Applied("2K", "2K")
    assert honoured["thinking_level"] == Applied("high", "high")
    assert honoured["negative_prompt"].note == "negative prompt folded into the prompt"
    assert honoured["seed"].used == 7 and "may draw another picture" in honoured["seed"].note
    assert honoured["control"].note.startswith("control picture ignored")
    assert honoured["guidance_scale"].note.startswith("guidance scale ignored")
    assert honoured["sparkle"].note == "sparkle ignored: Google has no such option"


async def test_the_size_is_that_of_the_picture(google: GoogleServer) -> None:
    google.usual = Script(picture=pictures.plain(1264, 848))
    got = await events(backend(google.origin), request=replace(ASK, width=1200, height=800))
    assert sent(google)["imageConfig"]["aspectRatio"] == "16:9"  # the nearest that this model has
    assert receipt_of(got).honoured["size"].note == "1264x848 instead of 1200x800"
    got = await events(backend(google.origin))
    assert receipt_of(got).honoured["size"].note == "1264x848 instead of 1024x1024"


@pytest.mark.parametrize(
    ("width", "height", "ratio"),
    [
        (512, 512, "1:1"),
        (1200, 800, "3:2"),
        (800, 1200, "2:3"),
        (640, 480, "4:3"),
        (1080, 1920, "9:16"),
        (2560, 1080, "21:9"),
        (1000, 1250, "4:5"),
    ],
)
async def test_the_catalogues_sizes_give_the_nearest_shape(
    google: GoogleServer, width: int, height: int, ratio: str
) -> None:
    model = load().find("google/gemini-nano-banana-2.1")
    wish = replace(ASK, width=width, height=height)
    got = await events(backend(google.origin), model, wish)
    assert sent(google)["imageConfig"] == {"aspectRatio": ratio, "imageSize": "1K"}
    assert receipt_of(got).honoured["aspect_ratio"].used == ratio


async def test_what_a_model_does_not_have_is_replaced_by_the_next_less(
    google: GoogleServer,
) -> None:
    lite = load().find("google/gemini-3.1-flash-lite-image")
    wish = asked(image_size="4K", thinking_level="medium")
    honoured = receipt_of(await events(backend(google.origin), lite, wish)).honoured
    assert sent(google)["imageConfig"]["imageSize"] == "1K"
    assert sent(google)["thinkingConfig"] == {"thinking_level": "MINIMAL"}
    assert honoured["image_size"] == Applied("4K", "1K", "resolution 1K instead of 4K")
    assert honoured["thinking_level"].note == "thinking minimal instead of medium"


async def test_what_a_model_lets_nobody_choose_is_not_sent(google: GoogleServer) -> None:
    pro = load().find("google/gemini-3-pro-image")
    got = await events(backend(google.origin), pro, asked(thinking_level="high"))
    assert "thinkingConfig" not in sent(google)
    assert receipt_of(got).honoured["thinking_level"].used is None
    await events(backend(google.origin), replace(MODEL, options={}))
    assert sent(google, 1)["imageConfig"] == {"aspectRatio": "1:1"}


async def test_several_pictures_are_several_calls_with_seeds_that_count_up(
    google: GoogleServer,
) -> None:
    got = await events(backend(google.origin), request=replace(ASK, count=3, seed=2**31 - 2))
    assert kinds(got) == ["Sending", "Picture", "Picture", "Picture", "Receipt"]
    seeds = {2**31 - 2, 2**31 - 1, 0}  # the API's seeds end there
    assert {each.json["generationConfig"]["seed"] for each in google.generations} == seeds
    assert {picture.seed for picture in pictures_of(got)} == seeds
    receipt = receipt_of(got)
    assert receipt.usage == {"text_input": 36, "text_output": 300, "image_output": 3360}
    assert receipt.honoured["count"] == Applied(3, 3)


async def test_a_seed_beyond_the_apis_is_said_to_be_another(google: GoogleServer) -> None:
    got = await events(backend(google.origin), request=replace(ASK, seed=2**31 + 5))
    assert sent(google)["seed"] == 5
    seed = receipt_of(got).honoured["seed"]
    assert (seed.requested, seed.used) == (2**31 + 5, 5)
    assert seed.note.startswith("seed 5 instead of 2147483653")


async def test_the_cost_is_exact_by_what_the_answer_counts(google: GoogleServer) -> None:
    model = load().find("google/gemini-nano-banana-2.1")
    got = await events(backend(google.origin), model)
    cost = settle(BillableWork(model=model, request=ASK, receipt=receipt_of(got)), 1)
    # 12 tokens of prompt, 1120 of picture; 10 of words beside it and 90 of thoughts are text.
    dollars = (12 * Decimal("1.5") + 100 * Decimal("7.5") + 1120 * 30) / 1_000_000
    assert cost.amount == dollars


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"promptTokenCount": 12},
        {"promptTokenCount": 12, "candidatesTokenCount": 1120},
        {**USAGE, "cachedContentTokenCount": 4},
        {**USAGE, "totalTokenCount": 2352},
        {**USAGE, "thoughtsTokenCount": None},
        {**USAGE, "candidatesTokenCount": 10, "candidatesTokensDetails": []},
    ],
    ids=[
        "no counters",
        "no output",
        "output of no kind",
        "a discount of unknown size",
        "more in the total than in its parts",
        "thoughts in the total only",
        "the picture in the total only",
    ],
)
async def test_a_cost_that_cannot_be_known_is_unknown(
    google: GoogleServer, usage: dict[str, Any] | None
) -> None:
    model = load().find("google/gemini-nano-banana-2.1")
    google.queue.extend([Script(), Script(usage=usage)])
    wish = replace(ASK, count=2)
    got = await events(backend(google.origin), model, wish)
    assert len(pictures_of(got)) == 2
    assert (
        settle(BillableWork(model=model, request=wish, receipt=receipt_of(got)), 2).amount is None
    )


@pytest.mark.parametrize("total", [1292, None])
async def test_what_a_tool_brought_into_the_prompt_is_input(
    google: GoogleServer, total: int | None
) -> None:
    google.usual = Script(usage={**USAGE, "toolUsePromptTokenCount": 60, "totalTokenCount": total})
    got = await events(backend(google.origin))
    assert receipt_of(got).usage == {"text_input": 72, "text_output": 100, "image_output": 1120}


async def test_thoughts_are_no_pictures_and_all_others_are_kept(google: GoogleServer) -> None:
    drawn = [pictures.plain(64, 64, colour) for colour in (b"\1\2\3", b"\4\5\6", b"\7\7\7")]
    google.usual = Script(
        parts=[
            picture_part(drawn[0], thought=True),
            {"text": "Here it is."},
            picture_part(drawn[1]),
            picture_part(drawn[2]),
        ]
    )
    got = await events(backend(google.origin))
    assert [picture.data for picture in pictures_of(got)] == drawn[1:]
    assert receipt_of(got).honoured["count"] == Applied(1, 2, "2 instead of 1 pictures")


async def test_what_came_is_kept_where_others_were_not_charged(google: GoogleServer) -> None:
    google.queue.append(failing(429, "RESOURCE_EXHAUSTED", "Quota exceeded."))
    got = await events(backend(google.origin), request=replace(ASK, count=3))
    assert len(pictures_of(got)) == 2
    receipt = receipt_of(got)
    assert receipt.honoured["count"].used == 2
    assert receipt.honoured["count"].note.startswith("2 instead of 3 pictures: The server at")
    assert receipt.usage["image_output"] == 2240


async def test_nothing_is_sent_while_sending_is_not_taken(google: GoogleServer) -> None:
    drawer = backend(google.origin)
    job = drawer.generate(MODEL, replace(ASK, count=3))
    assert await anext(job) == Sending()
    await asyncio.sleep(0.1)
    await job.aclose()
    await drawer.aclose()
    assert google.requests == []


async def test_stopping_hangs_up_every_call(google: GoogleServer) -> None:
    google.usual = Script(hang=True)
    drawer = backend(google.origin)
    job = drawer.generate(MODEL, replace(ASK, count=3))
    assert await anext(job) == Sending()
    waiting = asyncio.ensure_future(anext(job))
    assert await asyncio.to_thread(google.wait_until, "open", number=2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for number in range(3):
        assert await asyncio.to_thread(google.wait_until, "client left", number=number)
    await drawer.aclose()


async def test_a_closed_backend_draws_again(google: GoogleServer) -> None:
    drawer = backend(google.origin)
    for _ in range(2):
        assert len(pictures_of(await events(drawer))) == 1  # closes it at its end
