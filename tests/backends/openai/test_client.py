"""Jobs of the OpenAI backend in time: sending, waiting, stopping, many at once."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from backends.base import (
    Progress,
    Queued,
    Receipt,
    Sending,
)
from backends.images import base64_json, previews
from tests.backends.openai.case import ASK, MODEL, backend, events, kinds
from tests.servers.openai import OpenAIServer, Script, failing


async def test_nothing_leaves_before_the_event_after_sending(server: OpenAIServer) -> None:
    drawer = backend(server.base_url)
    job = drawer.generate(MODEL, ASK)
    assert await anext(job) == Sending()
    await asyncio.sleep(0.1)
    assert server.requests == []
    await job.aclose()
    await drawer.aclose()
    assert server.requests == []


async def test_a_short_wait_is_waited_for_once(server: OpenAIServer) -> None:
    slow = failing(429, "rate_limit_exceeded", headers={"Retry-After-Ms": "300"})
    server.queue.append(slow)
    started = time.monotonic()
    got = await events(backend(server.base_url))
    assert time.monotonic() - started >= 0.3
    assert kinds(got)[:3] == ["Sending", "Queued", "Sending"]
    assert isinstance(got[1], Queued)
    assert got[1].message.endswith("asks to wait 1 s")
    assert len(server.requests) == 2


async def test_closing_the_generator_drops_the_connection(server: OpenAIServer) -> None:
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    drawer = backend(server.base_url)
    for script in (Script(hang=True), Script(hang=True, stream=False)):
        server.usual = script
        before = len(server.requests)
        job = drawer.generate(MODEL, ASK)
        assert isinstance(await anext(job), Sending)
        waiting = asyncio.ensure_future(drain(job))
        assert await asyncio.to_thread(server.wait_until, "open", number=before)
        await asyncio.sleep(0.1)
        started = time.monotonic()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await job.aclose()
        assert time.monotonic() - started < 0.5
        assert await asyncio.to_thread(server.wait_until, "client left")
    await drawer.aclose()
    del job, waiting
    gc.collect()
    await asyncio.sleep(0)
    assert noise == []


async def test_closing_between_events_drops_the_connection(server: OpenAIServer) -> None:
    server.usual = Script(delay=0.2, hang=True)
    drawer = backend(server.base_url)
    job = drawer.generate(MODEL, ASK)
    async for event in job:
        if isinstance(event, Progress):
            break
    await job.aclose()
    assert await asyncio.to_thread(server.wait_until, "client left")
    await drawer.aclose()


async def drain(job: Any) -> None:
    async for _ in job:
        pass


async def test_one_failing_model_leaves_the_others_alone(server: OpenAIServer) -> None:
    server.usual = Script(delay=0.3)
    server.models = {"bad-1": Script(cut=10), "bad-2": failing(500), "bad-3": Script(raw=b"<")}
    drawer = backend(server.base_url)
    names = ["good-1", "bad-1", "good-2", "bad-2", "bad-3", "good-3"]

    async def job(name: str) -> list[Any]:
        return [event async for event in drawer.generate(replace(MODEL, source=name), ASK)]

    ended = await asyncio.gather(*map(job, names), return_exceptions=True)
    await drawer.aclose()
    for name, end in zip(names, ended, strict=True):
        assert isinstance(end, list) is name.startswith("good")
    assert len(server.requests) == len(names)


async def test_pictures_are_unpacked_beside_the_loop(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def watched(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            threads.append(threading.current_thread())
            return work(*given)

        return run

    for place, name in ((previews, "thumbnail"), (base64_json, "check")):
        monkeypatch.setattr(place, name, watched(getattr(place, name)))
    drawer = backend(server.base_url)

    async def job(count: int) -> list[Any]:
        return [event async for event in drawer.generate(MODEL, replace(ASK, count=count))]

    ended = await asyncio.gather(*(job(count) for count in (1, 1, 1, 1, 1, 1, 1, 2)))
    await drawer.aclose()
    assert all(isinstance(end[-1], Receipt) for end in ended)
    assert len(threads) >= 7 + 2 + 2
    assert threading.current_thread() not in threads
    assert len(server.requests) == 8


async def test_a_stream_that_stays_open_after_the_picture_is_left(server: OpenAIServer) -> None:
    server.usual = Script(linger=True)
    got = await asyncio.wait_for(events(backend(server.base_url)), 5)
    assert isinstance(got[-1], Receipt)
    assert await asyncio.to_thread(server.wait_until, "client left")


async def test_a_closed_backend_draws_again(server: OpenAIServer) -> None:
    drawer = backend(server.base_url)
    for _ in range(2):  # `events` closes it
        assert kinds(await events(drawer))[1:3] == ["Progress", "Progress"]


def test_one_lane_is_wide_enough() -> None:
    lane = backend().lane(MODEL)
    assert lane == backend().lane(replace(MODEL, source="another"))
    assert lane.width >= 64
