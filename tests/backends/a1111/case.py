"""Shared by the tests of the A1111 backend: a backend on a server, its events, a job to cancel."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends.a1111 import A1111
from backends.base import Config, Control, Event, Model, Picture, Receipt, Request
from tests.backends.a1111.harness import MODEL
from tests.servers import pictures
from tests.servers.a1111 import A1111Server

ASK = Request(prompt="a lighthouse", width=64, height=64, seed=7)
CONTROL = Control(image=pictures.plain(48, 32))


def named(source: str) -> Model:
    """Return a model for one checkpoint of the server."""
    return replace(MODEL, id=f"a1111/{source}", source=source)


def backend(url: str, **settings: str) -> A1111:
    """Return a backend on the server at `url`."""
    return A1111(Config(value={"A1111_URL": url, **settings}.get, home=Path("unused")))


async def events(
    server: A1111Server, request: Request = ASK, model: Model = MODEL, **settings: str
) -> list[Event]:
    """Return all events of one job."""
    drawer = backend(server.origin, **settings)
    try:
        return [event async for event in drawer.generate(model, request)]
    finally:
        await drawer.aclose()


def of(kind: type[Any], events: list[Event]) -> list[Any]:
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def pictures_of(events: list[Event]) -> list[Picture]:
    """Return the pictures among the events."""
    return of(Picture, events)


def receipt_of(events: list[Event]) -> Receipt:
    """Return the receipt, which is the last event and the only receipt."""
    (receipt,) = of(Receipt, events)
    assert events[-1] is receipt
    return receipt


async def cancel_when(drawer: A1111, met: Callable[[], bool], *, request: Request = ASK) -> None:
    """Start a job and cancel it as soon as `met` returns True."""
    reading = asyncio.create_task(_drain(drawer.generate(MODEL, request)))
    assert await asyncio.to_thread(until, met)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await drawer.aclose()


async def _drain(events: AsyncGenerator[Event, None]) -> None:
    try:
        async for _ in events:
            pass
    finally:
        await events.aclose()


def until(met: Callable[[], bool]) -> bool:
    """Wait until `met` returns True; return False if it does not in time."""
    end = time.monotonic() + 30
    while not met() and time.monotonic() < end:
        time.sleep(0.01)
    return met()
