"""The OpenAI backend against a real server: what it asks for, and what comes of it."""

import base64
from dataclasses import replace

import pytest

from backends.base import (
    Applied,
    Progress,
    Request,
)
from backends.images.validation import dimensions
from tests.backends.openai.case import (
    ASK,
    KEY,
    MODEL,
    backend,
    events,
    kinds,
    pictures_of,
    receipt_of,
)
from tests.servers import pictures
from tests.servers.openai import OpenAIServer, Script, failing


async def test_one_picture_comes_as_a_stream_with_previews(server: OpenAIServer) -> None:
    got = await events(backend(server.base_url))
    assert kinds(got) == ["Sending", "Progress", "Progress", "Picture", "Receipt"]
    for event in got:
        if isinstance(event, Progress):
            assert event.preview is not None
            assert dimensions(event.preview.data)[2] == event.preview.media_type == "image/jpeg"
            assert len(event.preview.data) < 60_000
    (picture,) = pictures_of(got)
    assert picture.data == pictures.noise()
    assert (picture.width, picture.height, picture.media_type) == (1024, 1024, "image/png")
    receipt = receipt_of(got)
    assert receipt.usage == {"text_input": 12, "image_input": 0, "image_output": 196}
    assert receipt.generate is not None
    assert receipt.charged is None
    (received,) = server.requests
    assert received.json == {
        "model": "gpt-image-2",
        "prompt": "a lighthouse",
        "size": "1024x1024",
        "quality": "low",
        "stream": True,
        "partial_images": 2,
    }
    assert received.headers["authorization"] == f"Bearer {KEY}"


async def test_several_pictures_come_in_one_plain_answer(server: OpenAIServer) -> None:
    server.usual = replace(server.usual, picture=pictures.plain())
    got = await events(backend(server.base_url), request=replace(ASK, count=3))
    assert kinds(got) == ["Sending", "Picture", "Picture", "Picture", "Receipt"]
    assert {picture.data for picture in pictures_of(got)} == {pictures.plain()}
    (received,) = server.requests
    assert received.json["n"] == 3
    assert "stream" not in received.json
    assert receipt_of(got).download is not None


async def test_the_request_in_the_apis_words(server: OpenAIServer) -> None:
    asked = Request(
        prompt="a lighthouse\n",
        negative_prompt="people",
        width=800,
        height=1200,
        seed=7,
        options={
            "openai": {
                "quality": "max",
                "background": "transparent",
                "output_format": "webp",
                "moderation": "low",
                "sparkle": 3,
            },
            "local": {"quality": "elsewhere"},
        },
    )
    honoured = receipt_of(await events(backend(server.base_url), request=asked)).honoured
    assert server.requests[0].json == {
        "model": "gpt-image-2",
        "prompt": "a lighthouse\n\nAvoid: people",
        "size": "1024x1536",
        "quality": "high",
        "background": "transparent",
        "output_format": "webp",
        "moderation": "low",
        "stream": True,
        "partial_images": 2,
    }
    assert honoured["negative_prompt"].note == "negative prompt folded into the prompt"
    assert honoured["seed"].note.startswith("seed ignored")
    assert honoured["quality"] == Applied("max", "high", "quality high instead of max")
    assert honoured["sparkle"].used is None
    assert honoured["background"] == Applied("transparent", "transparent")
    # The server drew 1024x1024 all the same, and that is what counts.
    assert honoured["size"] == Applied("800x1200", "1024x1024", "1024x1024 instead of 800x1200")


async def test_a_model_without_qualities_is_not_asked_for_one(server: OpenAIServer) -> None:
    bare = replace(MODEL, options={"partials": 0})
    got = await events(backend(server.base_url), bare)
    assert "quality" not in server.requests[0].json
    assert "stream" not in server.requests[0].json
    assert "quality" not in receipt_of(got).honoured
    asked = replace(ASK, options={"openai": {"quality": "high"}})
    got = await events(backend(server.base_url), bare, asked)
    assert receipt_of(got).honoured["quality"].note.startswith("quality ignored")
    usual = replace(ASK, options={"openai": {"quality": "low"}})  # as the form sends it
    got = await events(backend(server.base_url), bare, usual)
    assert "quality" not in receipt_of(got).honoured


async def test_a_models_own_quality_is_its_default(server: OpenAIServer) -> None:
    fine = replace(MODEL, options={"qualities": "low, medium, high", "quality": "medium"})
    await events(backend(server.base_url), fine)
    assert server.requests[0].json["quality"] == "medium"
    asked = replace(ASK, options={"openai": {"quality": "high"}})
    await events(backend(server.base_url), fine, asked)
    assert server.requests[1].json["quality"] == "high"


async def test_what_the_service_changed_is_said(server: OpenAIServer) -> None:
    answer = Script(stream=False, extra={"quality": "medium"})
    server.queue.append(answer)
    asked = replace(ASK, options={"openai": {"quality": "auto"}})
    got = await events(backend(server.base_url), request=asked)
    assert receipt_of(got).honoured["quality"] == Applied("auto", "medium")
    server.queue.append(answer)
    got = await events(backend(server.base_url))
    assert receipt_of(got).honoured["quality"].note == "quality medium instead of low"
    server.queue.append(Script(stream=False, raw=REWRITTEN))
    got = await events(backend(server.base_url))
    assert receipt_of(got).honoured["prompt"] == Applied(
        "a lighthouse", "a tall lighthouse", "prompt rewritten"
    )
    assert receipt_of(got).usage == {}


REWRITTEN = (
    b'{"created": 1, "data": [{"revised_prompt": "a tall lighthouse", "b64_json" : "'
    + base64.b64encode(pictures.plain(1024, 1024)).replace(b"/", b"\\/")
    + b'"}]}'
)


async def test_usage_with_details_of_the_output(server: OpenAIServer) -> None:
    details = {"image_tokens": 180, "text_tokens": 16}
    server.usual = Script(
        stream=False,
        usage={"input_tokens": 9, "output_tokens": 196, "output_tokens_details": details},
    )
    got = await events(backend(server.base_url))
    assert receipt_of(got).usage == {"text_input": 9, "image_output": 180, "text_output": 16}


async def test_a_server_that_answers_a_stream_with_json(server: OpenAIServer) -> None:
    server.usual = Script(stream=False)
    assert kinds(await events(backend(server.base_url))) == ["Sending", "Picture", "Receipt"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 422])
async def test_a_server_that_rejects_streams_is_asked_once_without(
    server: OpenAIServer, status: int
) -> None:
    server.queue.append(failing(status, None, "Unknown parameter: 'partial_images'."))
    assert kinds(await events(backend(server.base_url))) == ["Sending", "Picture", "Receipt"]
    assert [received.json.get("stream") for received in server.requests] == [True, None]


async def test_a_server_that_sends_urls(server: OpenAIServer) -> None:
    server.usual = Script(stream=False, url=True)
    got = await events(backend(server.base_url))
    assert pictures_of(got)[0].data == pictures.noise()
    assert receipt_of(got).download is not None
    get = server.requests[-1]
    assert get.path == "/picture"
    assert "authorization" not in get.headers


async def test_a_stream_without_event_names(server: OpenAIServer) -> None:
    server.usual = replace(server.usual, names=False)
    got = await events(backend(server.base_url))
    assert kinds(got) == ["Sending", "Progress", "Progress", "Picture", "Receipt"]


async def test_a_broken_partial_picture_costs_only_itself(server: OpenAIServer) -> None:
    server.usual = replace(server.usual, partial=b"not a picture")
    assert kinds(await events(backend(server.base_url))) == ["Sending", "Picture", "Receipt"]
