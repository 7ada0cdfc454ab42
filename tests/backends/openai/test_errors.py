"""Every failure of OpenAI's image API, case by case, over real sockets.

For each: the kind of error, a sentence that says what happened, whether anything was billed, that
neither the key nor the service's innards stand in it, and that the request was sent once.
"""

import asyncio
import logging
import socket
import ssl
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from backends.errors import (
    BackendError,
    NoCredit,
    Outcome,
    RateLimited,
    Refused,
    ServiceFault,
    TimedOut,
    Unanswered,
    Unreachable,
)
from backends.openai import backend as openai_backend
from backends.openai.errors import RULES
from tests.backends.openai.case import ASK, KEY, MODEL, backend, events, kinds, mocked
from tests.backends.openai.cases import CASES, Case
from tests.servers.openai import OpenAIServer, Script, failing


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


async def test_the_table(
    server: OpenAIServer, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.usual = case.script
    with pytest.raises(case.kind, match=case.sentence) as caught:
        await events(backend(server.base_url), request=replace(ASK, count=case.count))
    error = caught.value
    assert error.charged is case.charged
    assert error.__cause__ is not None or type(error) in (ServiceFault, Unanswered)
    assert str(error).endswith((".", "…"))
    for innard in (KEY, KEY[:12], "/srv/app", "<html>", "<b>", "Error code"):
        assert innard not in str(error)
    assert KEY not in caplog.text
    assert KEY[3:] not in repr(error) + repr(backend())
    unspecific = case.name in ("422", "no reason")  # it may be the stream, and nothing was drawn
    assert len(server.generations) == 1 + unspecific, "nothing is sent twice"


def test_every_rule_of_the_table_has_a_case() -> None:
    for rule in RULES:
        assert rule.sentence.startswith(("{service} ", "The account "))
        assert any(
            case.script.error.get("code") in rule.codes or case.script.status in rule.statuses
            for case in CASES
            if issubclass(rule.kind, case.kind)
        ), rule.sentence


def test_outcomes() -> None:
    assert Refused.outcome is Outcome.REFUSED
    assert Unanswered.outcome is Outcome.UNKNOWN
    assert TimedOut.outcome is Outcome.TIMED_OUT


async def test_a_wait_is_named_and_kept(server: OpenAIServer) -> None:
    server.usual = failing(429, "rate_limit_exceeded", headers={"Retry-After": "61"})
    with pytest.raises(RateLimited) as caught:
        await events(backend(server.base_url))
    assert caught.value.retry_after == 61


async def test_a_short_wait_is_waited_for_once_only(server: OpenAIServer) -> None:
    server.usual = failing(429, "rate_limit_exceeded", headers={"Retry-After": "0.1"})
    job = (drawer := backend(server.base_url)).generate(MODEL, ASK)
    assert kinds([await anext(job) for _ in range(3)]) == ["Sending", "Queued", "Sending"]
    with pytest.raises(RateLimited):
        await anext(job)
    await drawer.aclose()
    assert len(server.generations) == 2


async def test_an_empty_account_is_not_waited_for(server: OpenAIServer) -> None:
    server.usual = failing(429, "insufficient_quota", headers={"Retry-After": "0.1"})
    with pytest.raises(NoCredit):
        await events(backend(server.base_url))
    assert len(server.generations) == 1


async def test_a_picture_that_cannot_be_fetched(server: OpenAIServer) -> None:
    server.usual = Script(
        stream=False, raw=f'{{"data": [{{"url": "{server.origin}/nowhere"}}]}}'.encode()
    )
    with pytest.raises(ServiceFault, match=r"was made, but could not be fetched.*404"):
        await events(backend(server.base_url))
    assert len(server.generations) == 1


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=f"Nothing answers at 127.0.0.1:{port}") as caught:
            await events(backend(f"http://127.0.0.1:{port}/v1"))
    assert caught.value.charged is False


async def test_no_tls_where_tls_is_expected() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as plain_server:
        port = plain_server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match="no secure connection"):
            await events(backend(f"https://127.0.0.1:{port}/v1"))


def raising(error: Exception, cause: Exception | None = None) -> Any:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if isinstance(error, httpx2.RequestError):
            error.request = request
        raise error from cause

    return answer


@pytest.mark.parametrize(
    ("error", "cause", "kind", "sentence"),
    [
        (httpx2.ConnectTimeout(""), None, TimedOut, "No connection to api.openai.com within 10 s"),
        (httpx2.ConnectError(""), socket.gaierror(), Unreachable, "could not be found"),
        (httpx2.ConnectError(""), ssl.SSLError(), Unreachable, "no secure connection"),
        (httpx2.ReadTimeout(""), None, Unanswered, "OpenAI took the request.*within 600 s"),
        (httpx2.ReadError(""), None, Unanswered, "look at your usage page before you try again"),
        (RuntimeError(KEY), None, ServiceFault, r"makes no sense \(RuntimeError\)"),
    ],
)
async def test_failures_below_http(
    error: Exception, cause: Exception | None, kind: type[BackendError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        await events(mocked(raising(error, cause)))
    assert KEY not in str(caught.value)
    assert (caught.value.charged is False) is issubclass(kind, (TimedOut, Unreachable))


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_never_comes(server: OpenAIServer, stream: bool) -> None:
    server.usual = Script(hang=True, stream=stream)
    with pytest.raises(Unanswered, match=r"within 0\.3 s\. It may have been billed"):
        await events(backend(server.base_url, LINEUP_ANSWER_SECONDS="0.3"))
    assert len(server.generations) == 1
    assert await asyncio.to_thread(server.wait_until, "client left")


async def test_a_slow_answer_is_waited_for(server: OpenAIServer) -> None:
    server.usual = Script(stream=False, drip=0.1)
    got = await events(backend(server.base_url, LINEUP_ANSWER_SECONDS="5"))
    assert kinds(got) == ["Sending", "Picture", "Receipt"]


def test_patience_is_short() -> None:
    assert openai_backend.MAX_RETRY_AFTER == 20
