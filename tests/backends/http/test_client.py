"""What every HTTP backend shares: waits, clean reasons, connections, limits."""

import asyncio
import datetime
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from backends.base import Config
from backends.errors import (
    BackendError,
    MissingPackage,
    NotReady,
)
from backends.http import client as http_client
from backends.http.limits import AnswerRefused
from backends.wording import redact

NOON = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 13:00:30 +0100"}, 30.0),
        ({"retry-after": "later"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Sun, 99 Nov 2026 12:00:30 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert http_client.retry_after(httpx2.Headers(headers), now=NOON) == seconds


def test_retry_after_counts_from_now() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    date = soon.strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert 50 < (http_client.retry_after({"retry-after": date}) or 0) <= 60


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Invalid size.", "Invalid size."),
        ("Incorrect key: sk-proj-ab**cd. See docs.", "Incorrect key: (key) See docs."),
        ("the secret is hunter2!", "the secret is (key)!"),
        ("Authorization: Bearer abc.def", "Authorization: (key)"),
        ("in /srv/app/images.py\n  line 3", "in (path) line 3"),
        (r"in C:\app\images.py now", "in (path) now"),
        ("see https://example.com/a/b/c", "see https://example.com/a/b/c"),
        ("<h1>Bad\n gateway</h1>", "Bad gateway"),
        ("x" * 1000, "x" * 299 + "…"),
        ("", ""),
    ],
)
def test_a_services_reason_is_cleaned(said: str, shown: str) -> None:
    assert redact(said, "hunter2", None) == shown


def answering(answer: Callable[[httpx2.Request], httpx2.Response]) -> httpx2.AsyncClient:
    return http_client.new_client(http_client.Timeouts(), httpx2.MockTransport(answer))


async def test_a_post_is_never_redirected() -> None:
    async with answering(lambda _: httpx2.Response(307, headers={"location": "/"})) as client:
        assert (await client.post("https://pictures.example")).status_code == 307


async def test_a_loop_keeps_its_client_and_loops_share_none() -> None:
    clients = http_client.ClientPool(Config(value={}.get, home=Path("unused")))
    first, second = await asyncio.gather(clients.get(), clients.get())
    assert first is second

    async def elsewhere() -> bool:
        other = await clients.get()
        await clients.aclose()
        return other is first

    assert not await asyncio.to_thread(asyncio.run, elsewhere())
    await clients.aclose()
    assert first.is_closed
    assert await clients.get() is not first
    await clients.aclose()


@pytest.mark.parametrize(
    ("settings", "connect", "answer"),
    [
        ({}, 10, 600),
        ({"LINEUP_CONNECT_SECONDS": "2.5", "LINEUP_ANSWER_SECONDS": "1200"}, 2.5, 1200),
        ({"LINEUP_CONNECT_SECONDS": "soon", "LINEUP_ANSWER_SECONDS": "-1"}, 10, 600),
        ({"LINEUP_CONNECT_SECONDS": "inf", "LINEUP_ANSWER_SECONDS": "nan"}, 10, 600),
    ],
)
async def test_how_long_one_waits_can_be_set(
    settings: dict[str, str], connect: float, answer: float
) -> None:
    clients = http_client.ClientPool(Config(value=settings.get, home=Path("unused")))
    client = await clients.get()
    assert (client.timeout.connect, client.timeout.read) == (connect, answer)
    assert client.timeout.pool is None, "a wait for a free connection is no failure"
    await clients.aclose()


async def test_proxies_of_the_environment_are_not_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.servers.openai import OpenAIServer

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with OpenAIServer() as server:
        async with http_client.new_client(http_client.Timeouts()) as client:
            assert (await client.get(f"{server.base_url}/models")).status_code == 200
            with pytest.raises(httpx2.ConnectError):  # the proxy, where nobody listens
                await client.get("http://pictures.example/")


@pytest.mark.parametrize(
    ("proxy", "kind"), [("socks5://127.0.0.1:9", MissingPackage), ("nonsense://x", NotReady)]
)
def test_a_proxy_that_cannot_be_used_is_said(
    proxy: str, kind: type[BackendError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(kind, match="proxy"):
        http_client.new_client(http_client.Timeouts())


@pytest.mark.parametrize(
    ("text", "limit"), [(None, 256e6), ("0.5", 5e5), ("-1", 256e6), ("inf", 256e6), ("many", 256e6)]
)
def test_how_much_an_answer_may_have_can_be_set(text: str | None, limit: float) -> None:
    config = Config(value={"LINEUP_ANSWER_MB": text}.get, home=Path("unused"))
    assert http_client.max_answer_bytes(config) == limit


async def test_no_cookies_are_kept() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert "cookie" not in request.headers
        return httpx2.Response(200, headers={"set-cookie": "session=1; Path=/"})

    async with answering(answer) as client:
        for _ in range(2):
            await client.get("https://pictures.example/")
        assert not list(client.cookies.jar)


async def test_redirects_of_a_query_stay_on_its_server() -> None:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        moved = {"location": "/new" if request.url.path == "/old" else "http://10.0.0.1/"}
        return httpx2.Response(307, headers=moved)

    async with answering(answer) as client:
        with pytest.raises(AnswerRefused, match="another server"):
            await client.get("https://hub.example/old", follow_redirects=True)
    assert seen == ["https://hub.example/old", "https://hub.example/new"]
