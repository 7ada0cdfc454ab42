"""Servers that are nearly like OpenAI: what they send, what they refuse, and how they say so."""

import base64
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.base import Config
from backends.errors import (
    BackendError,
    BadInput,
    MaybeBilled,
    NoCredit,
    Outcome,
    Refused,
    ServiceFault,
    Unanswered,
    WrongKey,
)
from backends.openai import OpenAI
from compare.catalogue.catalogue import load
from tests.backends.openai.case import ASK, KEY, MODEL, backend, events, pictures_of, receipt_of
from tests.servers import pictures
from tests.servers.openai import OpenAIServer, Script, failing

DATA = pictures.plain(32, 32)
B64 = base64.b64encode(DATA).decode()
DONE = b"data: [DONE]\n\n"


def event(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return head.encode() + b"data: " + json.dumps(data).encode() + b"\n\n"


def streamed(*chunks: bytes) -> Script:
    return Script(raw=b"".join(chunks), media_type="text/event-stream")


def answering(answer: Any) -> Script:
    return Script(stream=False, raw=json.dumps(answer).encode())


async def failure(server: OpenAIServer, script: Script, **settings: str) -> BackendError:
    server.usual = script
    with pytest.raises(BackendError) as caught:
        await events(backend(server.base_url, **settings))
    return caught.value


# ── streams ───────────────────────────────────────────────────────────────────────────────────────

RESULT = {"object": "image.generation.result", "data": [{"b64_json": B64}]}
COMPLETED = {"type": "image_generation.completed", "b64_json": B64}
STREAMS = {
    "another object": (
        event({"object": "image.generation.chunk", "data": []}),
        event(RESULT),
        DONE,
    ),
    "the name message": (event(COMPLETED, "message"),),
    "a name nobody knows": (event({"b64_json": B64}, "finished"),),
    "no name and no type": (event({"data": [{"b64_json": B64}]}), DONE),
    "no blank line at the end": (event(COMPLETED, "image_generation.completed")[:-2],),
    "plain JSON": (json.dumps({"data": [{"b64_json": B64}]}).encode(),),
    "indented JSON": (json.dumps({"data": [{"b64_json": B64}]}, indent=2).encode(),),
    "comments and empty events": (b": ping\n\n", b"data:\n\n", event(COMPLETED), DONE),
    "a partial picture by its index": (
        event({"partial_image_index": 0, "b64_json": B64[:40]}),
        event(COMPLETED),
    ),
}


@pytest.mark.parametrize("chunks", STREAMS.values(), ids=STREAMS)
async def test_a_whole_picture_in_a_stream_is_kept(
    server: OpenAIServer, chunks: Iterable[bytes]
) -> None:
    server.usual = streamed(*chunks)
    drawn = pictures_of(await events(backend(server.base_url)))
    assert [picture.data for picture in drawn] == [DATA]


async def test_a_stream_with_an_event_for_each_picture(server: OpenAIServer) -> None:
    usage = {"input_tokens": 9, "output_tokens": 400}
    server.usual = streamed(event(RESULT), event(RESULT), event({"usage": usage}), DONE)
    got = await events(backend(server.base_url))
    assert len(pictures_of(got)) == 2
    assert receipt_of(got).usage == {"text_input": 9, "image_output": 400}


async def test_a_picture_before_an_error_in_a_stream_is_kept(server: OpenAIServer) -> None:
    server.usual = streamed(event(RESULT), event({"error": {"message": "The card is gone."}}))
    got = await events(backend(server.base_url))
    assert len(pictures_of(got)) == 1


@pytest.mark.parametrize("shape", ["{}", '{"error": {}}', '{"response": {"error": {}}}'])
@pytest.mark.parametrize("name", ["error", "", "message", "response.failed"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("content_policy_violation", Refused),
        ("insufficient_quota", NoCredit),
        ("invalid_api_key", WrongKey),
    ],
)
async def test_an_error_in_a_stream_is_one_under_any_name(
    server: OpenAIServer, shape: str, name: str, code: str, kind: type[BackendError]
) -> None:
    error = {"message": "No.", "code": code}
    data = json.loads(shape.replace("{}", json.dumps(error)))
    assert isinstance(await failure(server, streamed(event(data, name), DONE)), kind)


async def test_only_a_server_that_is_known_to_stream_is_asked_to(server: OpenAIServer) -> None:
    server.usual = Script(picture=DATA)
    known = load().find("openai@here/qwen-image")
    for entry, option, expected in (
        ("", "auto", None),
        ("stream=on ", "auto", True),
        ("stream=off ", "auto", None),
        ("stream=on ", "off", None),
        ("", "on", True),
    ):
        values = {"OPENAI_SERVERS": f"here={server.base_url} {entry}qwen-image"}
        asked = replace(ASK, options={"openai": {"stream": option}})
        drawer = OpenAI(Config(value=values.get, home=Path("unused")))
        await events(drawer, known, asked)
        assert server.requests[-1].json.get("stream") is expected, (entry, option)
    await events(backend(server.base_url, OPENAI_STREAM="off"))
    assert "stream" not in server.requests[-1].json


async def test_a_refusal_of_streams_is_remembered(server: OpenAIServer) -> None:
    drawer = backend(server.base_url)
    server.usual = Script(picture=DATA)
    server.queue.append(failing(400, None, "Argument not supported: stream"))
    for _ in range(2):
        await events(drawer)
    assert [asked.json.get("stream") for asked in server.generations] == [True, None, None]


@pytest.mark.parametrize(
    "refusal",
    [
        failing(422, None, "Extra inputs are not permitted: partial_images"),
        failing(400, None, "Unrecognized request argument supplied: stream"),
        failing(400, None, "text/event-stream is not available; streaming is not supported"),
        Script(status=422, raw=b'{"detail": [{"loc": ["body", "stream"], "msg": "extra"}]}'),
        Script(status=400, raw=b""),
        failing(501, None, "Not implemented"),
        failing(415, None, "Unsupported media type"),
    ],
)
async def test_every_form_of_refusing_a_stream(server: OpenAIServer, refusal: Script) -> None:
    server.queue.append(refusal)
    server.usual = Script(picture=DATA)
    assert len(pictures_of(await events(backend(server.base_url)))) == 1
    assert [asked.json.get("stream") for asked in server.generations] == [True, None]


async def test_a_proxy_that_breaks_on_a_stream_is_not_paid_twice(server: OpenAIServer) -> None:
    drawer = backend(server.base_url)
    server.queue.append(failing(500, "500", "'str' object has no attribute 'model_dump'"))
    server.usual = Script(picture=DATA)
    with pytest.raises(MaybeBilled, match=r"model_dump.*may have been billed") as caught:
        await events(drawer)
    assert caught.value.outcome is Outcome.UNKNOWN and len(server.generations) == 1
    assert len(pictures_of(await events(drawer))) == 1
    assert "stream" not in server.generations[-1].json


# ── nothing is sent that nobody chose ─────────────────────────────────────────────────────────────


async def test_an_unknown_model_is_asked_for_no_size_unless_one_is_chosen(
    server: OpenAIServer,
) -> None:
    server.usual = Script(picture=DATA)
    anything = load().find("openai/grok-2-image")
    got = await events(backend(server.base_url, OPENAI_STREAM=""), anything)
    assert server.requests[-1].json == {"model": "grok-2-image", "prompt": "a lighthouse"}
    assert receipt_of(got).honoured["size"].used == "32x32"
    await events(backend(server.base_url), anything, replace(ASK, width=1024, height=1024))
    assert server.requests[-1].json["size"] == "1024x1024"
    await events(backend(server.base_url))
    assert server.requests[-1].json["size"] == "1024x1024", "what its price depends on"


# ── errors ────────────────────────────────────────────────────────────────────────────────────────

LITELLM = "litellm.BadRequestError: OpenAIException - "
WRAPPED = [
    (400, f"{LITELLM}Your request was rejected by the safety system. safety_violations=[violence].",
     Refused, "moderation (violence)"),
    (400, f"{LITELLM}{{'error': {{'code': 'moderation_blocked'}}}}", Refused, "moderation"),
    (400, "The response was filtered due to the content management policy.", Refused, "moderation"),
    (500, "ImageGenerationError: content_policy_violation", Refused, "moderation"),
    (429, "RateLimitError: You exceeded your current quota, please check your plan.", NoCredit,
     "no credit"),
    (400, f"{LITELLM}Billing hard limit has been reached.", NoCredit, "no credit"),
    (400, "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", NoCredit, "no credit"),
    (403, "Insufficient balance", NoCredit, "no credit"),
    (401, "Authentication Error, Invalid proxy server token passed.", WrongKey, "Check OPENAI_API"),
    (400, "No connected db.", WrongKey, "does not accept the key"),
    (500, "AuthenticationError: Incorrect API key provided", WrongKey, "does not accept the key"),
    (404, "Invalid URL (POST /v1/images/generations)", ServiceFault, "no image service"),
    (400, "Invalid route /v1/images/generations", BadInput, "route /v1/images/generations."),
]  # fmt: skip


@pytest.mark.parametrize("status_in_code", [True, False])
@pytest.mark.parametrize(("status", "message", "kind", "words"), WRAPPED)
async def test_an_error_is_told_by_all_it_says(
    server: OpenAIServer,
    status: int,
    message: str,
    kind: type[BackendError],
    words: str,
    status_in_code: bool,
) -> None:
    code = str(status) if status_in_code else None
    error = await failure(server, failing(status, code, message, type="None"))
    assert isinstance(error, kind) and words in str(error), str(error)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ({"error": {"message": "No.", "code": "moderation_blocked"}}, Refused, "moderation"),
        ({"error": "Insufficient credits"}, NoCredit, "no credit"),
        ({"error": {"message": "Nope.", "code": "401"}}, WrongKey, "Nope."),
        ({"errors": [{"message": "The card is on fire."}]}, ServiceFault, "on fire"),
        ({"detail": "The model is loading."}, ServiceFault, "is loading"),
        ({"code": 400, "message": "Bad size."}, BadInput, "Bad size"),
        ({"data": [], "error": {"message": "Nothing came."}}, ServiceFault, "Nothing came"),
        ({"object": "error", "message": "Out of memory."}, ServiceFault, "Out of memory"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_with_the_status_of_a_success(
    server: OpenAIServer, answer: Any, kind: type[BackendError], words: str, stream: bool
) -> None:
    script = streamed(event(answer)) if stream else answering(answer)
    error = await failure(server, script)
    assert isinstance(error, kind) and words in str(error), str(error)


async def test_a_gateway_that_gives_up_waiting_may_have_been_billed(server: OpenAIServer) -> None:
    timeout = failing(408, None, "litellm.Timeout: the request timed out")
    assert isinstance(await failure(server, timeout), Unanswered)


async def test_a_server_without_a_key_bills_nobody(server: OpenAIServer) -> None:
    broken = failing(500, None, "The card is on fire.")
    error = await failure(server, broken, OPENAI_API_KEY="")
    assert type(error) is ServiceFault and "billed" not in str(error)


# ── pictures that are missing, and keys as they are pasted ────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "came", "note"),
    [
        ([{"b64_json": B64}], 1, "1 instead of 3 pictures"),
        ([{"b64_json": B64}, {"b64_json": None}, {"b64_json": B64}], 2, "2 instead of 3 pictures"),
        ([{"b64_json": B64}, {"url": "http://127.0.0.1:9/x.png"}], 1, "1 instead of 3 pictures: "),
        ([{"b64_json": B64}, {"b64_json": B64[:100]}], 1, "damaged or incomplete"),
        ([{"b64_json": B64}] * 4, 4, "4 instead of 3 pictures"),
    ],
)
async def test_what_came_is_kept_and_counted(
    server: OpenAIServer, data: list[Any], came: int, note: str
) -> None:
    server.usual = answering({"created": 1, "data": data})
    got = await events(backend(server.base_url), request=replace(ASK, count=3))
    assert len(pictures_of(got)) == came
    count = receipt_of(got).honoured["count"]
    assert count.used == came and note in count.note


@pytest.mark.parametrize(
    "pasted",
    [f'"{KEY}"', f"'{KEY}'", f"Bearer {KEY}", f'"Bearer {KEY}" ', f"Authorization: bearer {KEY}\n"],
)
async def test_a_key_with_quotes_or_the_word_bearer(server: OpenAIServer, pasted: str) -> None:
    server.usual = Script(picture=DATA)
    await events(backend(server.base_url, OPENAI_API_KEY=pasted), MODEL)
    assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("pasted", [f'{KEY}"', f"{KEY} {KEY}", f"“{KEY}”", f"{KEY}\nX: y"])
async def test_a_key_that_no_service_has_is_named_and_not_sent(
    server: OpenAIServer, pasted: str
) -> None:
    with pytest.raises(WrongKey, match="OPENAI_API_KEY holds characters that no key has") as caught:
        await events(backend(server.base_url, OPENAI_API_KEY=pasted))
    assert not server.requests and KEY not in str(caught.value)
