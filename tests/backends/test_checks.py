"""Asking a service whether it accepts a key: what it says, and that it costs nothing."""

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.errors import BackendError, Forbidden, MissingKey, NotReady, Unreachable, WrongKey
from tests.backends.harness import Harness, all_harnesses
from tests.servers.comfyui import basic
from tests.servers.discord import Answer
from tests.servers.google import failing as google_failing
from tests.servers.huggingface import Script as HuggingFaceScript
from tests.servers.stability import failing as stability_failing

HARNESSES = all_harnesses()
Change = Callable[[Any], None]

ACCEPTED = {
    "openai": r"The server at \S+ answers\. It has gpt-image-2, .+ and gpt-image-2\.6-sunburst\.",
    "google": r"The server at \S+ accepts the key\.",
    "huggingface": r"Hugging Face accepts the token of ada\.",
    "stability": r"The server at \S+ accepts the key\. The account has 100 credits left\.",
    "a1111": r"The server at \S+ answers\. It has .*safetensors.*",
    "comfyui": r"The server at \S+ answers\. It has .*safetensors.*",
    "midjourney": r"Discord accepts the bot listener, and it sees the channel\.",
}


def turn_away(server: Any) -> None:
    """Let the OpenAI server know another key only."""
    server.key = "another"


def refuse_google(server: Any) -> None:
    server.models = google_failing(400, "INVALID_ARGUMENT", "API key not valid. Pass a valid one.")


def refuse_token(server: Any) -> None:
    server.who = HuggingFaceScript(status=401, error={"error": "Invalid username or password."})


def refuse_stability(server: Any) -> None:
    server.balances = stability_failing(401, "unauthorized", "The key has been revoked.")


def refuse_a1111(server: Any) -> None:
    server.auth = ("keeper", "another")


def refuse_comfyui(server: Any) -> None:
    server.authorization = basic("keeper", "another")


def refuse_bot(server: Any) -> None:
    server.answers = {"/users/@me": Answer(body=b'{"message":"401: Unauthorized"}', status=401)}


REFUSED: dict[str, tuple[Change, str]] = {
    "openai": (turn_away, r"Incorrect API key provided\. Check OPENAI_API_KEY\."),
    "google": (
        refuse_google,
        r"does not accept the key: API key not valid\. Pass a valid one\. Check GOOGLE_API_KEY",
    ),
    "huggingface": (refuse_token, r"Invalid username or password\. Check HF_TOKEN\."),
    "stability": (refuse_stability, r"The key has been revoked\. Check STABILITY_API_KEY\."),
    "a1111": (refuse_a1111, r"Check A1111_USER and A1111_PASSWORD\."),
    "comfyui": (refuse_comfyui, r"Check COMFYUI_USER and COMFYUI_PASSWORD, or COMFYUI_TOKEN\."),
    "midjourney": (refuse_bot, r"Discord does not accept the bot's token\."),
}


ADVICE = {
    "a1111": "Start it with --api, and check A1111_URL.",
    "comfyui": "Start ComfyUI there, and check COMFYUI_URL.",
    "openai": "Check that the service runs, and OPENAI_BASE_URL.",
}


@pytest.fixture(params=sorted(ACCEPTED))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_what_is_accepted_is_said_and_nothing_was_asked_to_draw(
    name: str, home: Path
) -> None:
    with HARNESSES[name]() as harness:
        said = await ask(harness, home)
        assert re.fullmatch(ACCEPTED[name], said), said
        assert harness.billable == 0 and harness.secret not in said


async def test_what_is_refused_comes_with_the_services_words(name: str, home: Path) -> None:
    change, words = REFUSED[name]
    with HARNESSES[name]() as harness:
        change(harness.server)
        with pytest.raises(WrongKey, match=words) as caught:
            await ask(harness, home)
        assert harness.secret not in str(caught.value)


async def test_a_service_that_is_not_there_is_said(name: str, home: Path) -> None:
    with socket.socket() as held, HARNESSES[name]() as harness:
        held.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1") as caught:
            await ask(harness, home, origin=nowhere)
        assert ADVICE.get(name, "") in str(caught.value)


@pytest.mark.parametrize("name", sorted({*ACCEPTED} - {"openai", "google"}))
async def test_what_is_not_set_is_said(name: str, home: Path) -> None:
    with HARNESSES[name]() as harness:
        unset = dict.fromkeys(harness.settings(harness.origin), "")
        with pytest.raises((MissingKey, NotReady), match=r"[Ss]et "):
            await ask(harness, home, **unset)


async def test_a_bot_that_does_not_see_its_channel_is_told_so(home: Path) -> None:
    sentence = r"cannot see the channel 44.+MIDJOURNEY_CHANNEL"
    with HARNESSES["midjourney"]() as harness, pytest.raises(Forbidden, match=sentence):
        await ask(harness, home, MIDJOURNEY_CHANNEL="44")


async def test_what_cannot_be_asked_for_free_says_nothing(home: Path) -> None:
    with HARNESSES["craiyon"]() as harness:
        assert await ask(harness, home) == ""
        assert harness.billable == 0


async def ask(harness: Harness, home: Path, *, origin: str | None = None, **settings: str) -> str:
    backend = harness.create(home, origin=origin, **settings)
    try:
        return await backend.check()
    except BackendError as error:
        assert re.fullmatch(r"[A-Z].{15,}[.!?]", str(error)), str(error)
        raise
    finally:
        await backend.aclose()
