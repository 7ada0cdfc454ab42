"""The three chat services against a real server: what they ask, and what they say when it fails."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends import chat
from backends.base import Config, Readiness
from backends.chat import CHATS, Chat, Reply
from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    MaybeBilled,
    NoCredit,
    RateLimited,
    Refused,
    RetiredModel,
    ServiceFault,
    Unanswered,
    Unreachable,
    WrongKey,
)
from tests.servers.chat import REWRITTEN, ChatServer
from tests.servers.scripted import Script

KEYS = {
    "openai": "sk-proj-verysecretindeed1234",
    "google": "AIzaSyVerySecretIndeed1234",
    "huggingface": "hf_verysecretindeed1234",
}
SETTINGS = {"openai": "OPENAI_API_KEY", "google": "GOOGLE_API_KEY", "huggingface": "HF_TOKEN"}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


def service(name: str, origin: str, **settings: str) -> Chat:
    values = {
        SETTINGS[name]: KEYS[name],
        "OPENAI_BASE_URL": f"{origin}/v1",
        "GOOGLE_BASE_URL": origin,
        "HF_INFERENCE_BASE": origin,
        **settings,
    }
    return chat.create(name, Config(value=values.get, home=Path("unused")))


async def ask(name: str, origin: str, **settings: str) -> Reply:
    asked = service(name, origin, **settings)
    try:
        return await asked.ask("maker/some-model", "Rewrite it.", "a star")
    finally:
        await asked.aclose()


@pytest.mark.parametrize("name", CHATS)
async def test_one_request_brings_one_text_and_its_tokens(name: str, server: ChatServer) -> None:
    reply = await ask(name, server.origin)
    assert reply == Reply(text=REWRITTEN, usage={"text_input": 200, "text_output": 31})
    (received,) = server.requests
    body = received.body.decode()
    assert "Rewrite it." in body and "a star" in body
    assert "maker/some-model" in body + received.path
    header = received.headers.get("x-goog-api-key") or received.headers["authorization"]
    assert header.removeprefix("Bearer ") == KEYS[name]
    assert KEYS[name] not in received.path + body


@pytest.mark.parametrize("name", CHATS)
async def test_who_counts_no_tokens_is_believed_all_the_same(name: str, server: ChatServer) -> None:
    server.usage = False
    assert await ask(name, server.origin) == Reply(text=REWRITTEN)


def error(status: int, code: str, message: str) -> Script:
    """An answer that each of the three reads in its own way."""
    body = (
        f'{{"error": {{"code": "{code}", "status": "{code}", "message": "{message} '
        f'{" ".join(KEYS.values())}"}}}}'
    )
    return Script(status=status, raw=body.encode())


FAULTS: dict[str, tuple[Script, tuple[type[BackendError], ...]]] = {
    "wrong key": (error(401, "invalid_api_key", "Wrong."), (WrongKey,)),
    "no credit": (error(402, "insufficient_quota", "Empty."), (NoCredit,)),
    "forbidden": (error(403, "PERMISSION_DENIED", "Not you."), (Forbidden,)),
    "unknown model": (error(404, "NOT_FOUND", "No such model."), (RetiredModel,)),
    "busy": (error(429, "rate_limit_exceeded", "Slowly."), (RateLimited,)),
    "bad request": (error(400, "INVALID_ARGUMENT", "No."), (BadInput,)),
    "broken": (error(500, "INTERNAL", "Sorry."), (ServiceFault, MaybeBilled)),
    "down": (error(503, "UNAVAILABLE", "Sorry."), (ServiceFault, MaybeBilled)),
    "an error in a success": (
        error(200, "insufficient_quota", "Empty."),
        (NoCredit, ServiceFault),
    ),
    "gateway": (error(504, "DEADLINE_EXCEEDED", "Slow."), (Unanswered,)),
    "cut": (Script(cut=40), (Unanswered,)),
    "silent": (Script(hang=True), (Unanswered,)),
    "drips": (Script(drip=0.05), (Unanswered,)),
    "half of it": (Script(raw=b'{"choices": [{"message"'), (ServiceFault,)),
    "a page": (Script(raw=b"<html>Hello</html>", media_type="text/html"), (ServiceFault,)),
    "nothing in it": (Script(raw=b"{}"), (ServiceFault,)),
    "no choices": (Script(raw=b'{"choices": [], "candidates": []}'), (ServiceFault,)),
    "a list": (Script(raw=b"[]"), (ServiceFault,)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CHATS)
async def test_every_fault_is_a_sentence_without_a_key(
    name: str, fault: str, server: ChatServer
) -> None:
    server.script, kinds = FAULTS[fault]
    with pytest.raises(BackendError) as failed:
        await ask(name, server.origin, LINEUP_ANSWER_SECONDS="0.5")
    assert type(failed.value) in kinds, repr(failed.value)
    sentence = str(failed.value)
    assert sentence[0].isupper() and sentence.endswith(".")
    assert not any(key in sentence for key in KEYS.values())
    assert "image service" not in sentence
    assert len(server.requests) == 1, "nothing is asked twice"


@pytest.mark.parametrize("name", ["openai", "google"])
async def test_an_address_without_the_api_is_said_to_have_no_chat_service(
    name: str, server: ChatServer
) -> None:
    server.script = Script(status=405, raw=b"<html>No.</html>", media_type="text/html")
    with pytest.raises(ServiceFault, match="has no chat service at this address") as failed:
        await ask(name, server.origin)
    assert failed.value.charged is False


def says_nothing(server: ChatServer) -> None:
    server.text = None


def declines(server: ChatServer) -> None:
    server.refusal, server.blocked, server.finish = "No.", "SAFETY", "content_filter"


def stops(server: ChatServer) -> None:
    server.finish = "length"


@pytest.mark.parametrize(
    ("acts", "kind", "words"),
    [
        (says_nothing, ServiceFault, "without a text"),
        (declines, Refused, "declined"),
        (stops, ServiceFault, "in the middle"),
    ],
)
@pytest.mark.parametrize("name", CHATS)
async def test_an_answer_without_a_prompt_is_none(
    name: str,
    acts: Callable[[ChatServer], None],
    kind: type[BackendError],
    words: str,
    server: ChatServer,
) -> None:
    acts(server)
    if name == "google" and server.finish == "length":
        server.finish = "MAX_TOKENS"
    with pytest.raises(kind, match=words):
        await ask(name, server.origin)


@pytest.mark.parametrize("name", CHATS)
async def test_where_nobody_listens_is_said(name: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(Unreachable, match="Nothing answers"):
        await ask(name, origin)


@pytest.mark.parametrize("name", CHATS)
async def test_without_a_key_nothing_is_asked(name: str, server: ChatServer) -> None:
    official = {"OPENAI_BASE_URL": "", "GOOGLE_BASE_URL": "", SETTINGS[name]: ""}
    asked = service(name, server.origin, **official)
    ready = asked.ready()
    assert ready.state is Readiness.NEEDS_KEY and SETTINGS[name] in ready.sentence
    with pytest.raises(BackendError, match=SETTINGS[name]):
        await asked.ask("some-model", "Rewrite it.", "a star")
    assert server.requests == []


async def test_one_of_the_users_own_servers_is_asked_by_its_name(server: ChatServer) -> None:
    asked = service("openai", "http://127.0.0.1:9", OPENAI_SERVERS=f"mine={server.origin}/v1")
    try:
        reply = await asked.ask("some-model", "Rewrite it.", "a star", server="mine")
    finally:
        await asked.aclose()
    assert reply.text == REWRITTEN
    (received,) = server.requests
    assert KEYS["openai"] not in received.headers["authorization"]


def test_a_service_that_is_none_is_told() -> None:
    with pytest.raises(BadInput, match="there are openai, google, huggingface"):
        chat.create("palm", Config(value={}.get, home=Path("unused")))
