"""Whatever a hostile server sends, every backend ends soon, and with a sentence.

The attacks run side by side, since some of them take until a time limit. How much was read is seen
by what the server could send: it goes on until its client has left.
"""

import asyncio
import base64
import json
import re
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from backends import chat
from backends.base import Config, Picture
from backends.errors import BackendError, Outcome, ServiceFault
from backends.images.base64_json import parse_pictures
from tests.backends.harness import Harness, all_harnesses
from tests.servers import pictures
from tests.servers.exchange import Received
from tests.servers.hostile import ATTACKS, STREAMS, Hostile, answering

SETTINGS = {
    "LINEUP_ANSWER_MB": "2",
    "LINEUP_ANSWER_SECONDS": "0.5",
    "LINEUP_CONNECT_SECONDS": "0.5",
}
MAX_SENT = 24_000_000
"""Bytes that a server may send before it is cut off: Discord's limit, and the kernel's buffers."""
MAX_SECONDS = 20.0
"""Seconds for all attacks together; each of them alone would go on for ever."""


def _every(received: Received) -> bool:
    return True


def _generation(received: Received) -> bool:
    return received.method == "POST" and "progress" not in received.path


def _picture(received: Received) -> bool:
    return "picture" in received.path or received.path.startswith("/view")


async def error_of(hostile: Hostile, work: Awaitable[object], answers: int = 1) -> BackendError:
    """Return the error with which `work` ends, after so many `answers` of the hostile server."""
    with pytest.raises(BackendError) as caught:
        await work
    assert hostile.sent < MAX_SENT * answers
    assert re.fullmatch(r"[A-Z].{20,}[.!?…]", str(caught.value), re.DOTALL), str(caught.value)
    return caught.value


async def side_by_side(case: Callable[[str], Awaitable[None]], attacks: Iterable[str]) -> None:
    """Run `case` with each of the attacks; say which of them failed."""
    names = list(attacks)
    async with asyncio.timeout(MAX_SECONDS):
        ended = await asyncio.gather(*map(case, names), return_exceptions=True)
    assert {name: end for name, end in zip(names, ended, strict=True) if end} == {}


@pytest.mark.parametrize("kind", all_harnesses().values(), ids=all_harnesses())
async def test_an_answer_without_end_ends_the_job(kind: type[Harness], home: Path) -> None:
    is_discord = kind.backend == "midjourney"  # its first answer; its pictures are in test_pictures
    when = _every if is_discord else _generation

    async def case(attack: str) -> None:
        with kind() as harness, Hostile(harness.origin, when, ATTACKS[attack]) as hostile:
            backend = harness.create(home, origin=hostile.origin, **SETTINGS)
            error = await error_of(hostile, harness.draw(backend))
            asked = len([received for received in hostile.requests if when(received)])
        if is_discord:
            return
        assert asked == 1, "nothing is sent again by itself"
        if "error" not in attack:
            assert error.charged is None or error.outcome is Outcome.UNKNOWN, error

    await side_by_side(case, ATTACKS if kind.backend == "openai" else ATTACKS.keys() - STREAMS)


@pytest.mark.parametrize("name", sorted(all_harnesses().keys() - {"craiyon"}))
async def test_an_answer_without_end_ends_a_check(name: str, home: Path) -> None:
    async def case(attack: str) -> None:
        kind = all_harnesses()[name]
        with kind() as harness, Hostile(harness.origin, _every, ATTACKS[attack]) as hostile:
            backend = harness.create(home, origin=hostile.origin, **SETTINGS)
            await error_of(hostile, backend.check())
            await backend.aclose()

    await side_by_side(case, ("endless body", "gzip bomb", "dripping body", "many values"))


@pytest.mark.parametrize("name", ["craiyon", "huggingface", "comfyui"])
async def test_a_picture_without_end_ends_the_job(name: str, home: Path) -> None:
    async def case(attack: str) -> None:
        kind = all_harnesses()[name]
        with kind() as harness, Hostile(harness.origin, _picture, ATTACKS[attack]) as hostile:
            backend = harness.create(home, origin=hostile.origin, **SETTINGS)
            answers = 9 if name == "craiyon" else 1
            error = await error_of(hostile, harness.draw(backend), answers)
        assert error.charged is None and "could not be fetched" in str(error)

    await side_by_side(case, ("endless body", "gzip bomb", "dripping body"))


PICTURE = base64.b64encode(pictures.plain()).decode()
PART = {"inlineData": {"mimeType": "image/png", "data": PICTURE}}
MANY = {
    "openai": {"data": [{"b64_json": PICTURE}] * 1000},
    "openai ": {"data": [{"url": "/picture"}] * 1000},
    "google": {"candidates": [{"content": {"parts": [PART] * 1000}}]},
    "craiyon": {"images": ["2026/picture/1.webp"] * 1000},
}


@pytest.mark.parametrize("name", MANY)
async def test_a_thousand_pictures_are_not_taken(name: str, home: Path) -> None:
    answer = answering(json.dumps(MANY[name]).encode())
    kind = all_harnesses()[name.strip()]
    with kind() as harness, Hostile(harness.origin, _generation, answer) as hostile:
        backend = harness.create(home, origin=hostile.origin)
        error = await error_of(hostile, harness.draw(backend))
        assert not [received for received in hostile.requests if _picture(received)]
    assert "1,000 pictures at once; at most 64" in str(error) and error.charged is None


async def test_of_a_thousand_pictures_of_an_a1111_server_one_is_taken(home: Path) -> None:
    answer = answering(json.dumps({"images": [PICTURE] * 1000, "info": "{}"}).encode())
    kind = all_harnesses()["a1111"]
    with kind() as harness, Hostile(harness.origin, _generation, answer) as hostile:
        drawn = await harness.draw(harness.create(home, origin=hostile.origin))
    assert len([event for event in drawn if isinstance(event, Picture)]) == 1


@pytest.mark.parametrize(
    "body",
    [b'"b64_json":"iVBORw0KGgo",' * 500_000, b'{"data":[' + b'{"b64_json":""},' * 1000 + b"{}]}"],
)
def test_countless_pictures_are_given_up_before_they_are_read(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ServiceFault, match="at most 64"):
            parse_pictures(body)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


CHATS = {
    "openai": {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": "{origin}/v1"},
    "google": {"GOOGLE_API_KEY": "x", "GOOGLE_BASE_URL": "{origin}"},
    "huggingface": {"HF_TOKEN": "hf_x", "HF_INFERENCE_BASE": "{origin}"},
}


@pytest.mark.parametrize("name", CHATS)
async def test_an_answer_without_end_ends_a_chat(name: str, home: Path) -> None:
    async def case(attack: str) -> None:
        with Hostile("", _every, ATTACKS[attack]) as hostile:
            values = {key: text.format(origin=hostile.origin) for key, text in CHATS[name].items()}
            chats = chat.create(name, Config(value={**values, **SETTINGS}.get, home=home))
            await error_of(hostile, chats.ask("model", "Rewrite.", "a lighthouse"))
            await chats.aclose()

    await side_by_side(case, ATTACKS.keys() - STREAMS)
