"""What the tests of the OpenAI backend share: a model, a backend on a server, the events."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2

from backends.base import Config, Event, Model, Picture, Receipt, Request, Sizes
from backends.openai import OpenAI

KEY = "sk-proj-verysecretindeed1234"
ASK = Request(prompt="a lighthouse")
MODEL = Model(
    id="openai/gpt-image-2",
    label="GPT Image 2",
    family="gpt-image",
    source="gpt-image-2",
    supports=frozenset({"negative_prompt", "count", "image"}),
    sizes=Sizes(native=((1024, 1024), (1536, 1024), (1024, 1536)), only_native=True),
    most_count=10,
    most_prompt=32_000,
    options={"qualities": "low,medium,high", "quality": "low", "partials": 2},
)


def backend(base_url: str | None = None, **settings: str) -> OpenAI:
    """A backend with a key, on a server where `base_url` names one."""
    values = {"OPENAI_API_KEY": KEY, **settings}
    if base_url is not None:
        values = {"OPENAI_BASE_URL": base_url, "OPENAI_STREAM": "on", **values}
    return OpenAI(Config(value=values.get, home=Path("unused")))


def mocked(answer: Callable[[httpx2.Request], httpx2.Response], **settings: str | None) -> OpenAI:
    """A backend whose requests are answered by a function."""
    values: Mapping[str, str | None] = {"OPENAI_API_KEY": KEY, **settings}
    config = Config(value=values.get, home=Path("unused"))
    return OpenAI(config, transport=httpx2.MockTransport(answer))


async def events(drawer: OpenAI, model: Model = MODEL, request: Request = ASK) -> list[Event]:
    """All events of one job."""
    try:
        return [event async for event in drawer.generate(model, request)]
    finally:
        await drawer.aclose()


def kinds(events: list[Event]) -> list[str]:
    """The events' names in order."""
    return [type(event).__name__ for event in events]


def one(events: list[Event], kind: type[Any]) -> Any:
    """The only event of `kind`."""
    (found,) = (event for event in events if isinstance(event, kind))
    return found


def pictures_of(events: list[Event]) -> list[Picture]:
    """The pictures among the events."""
    return [event for event in events if isinstance(event, Picture)]


def receipt_of(events: list[Event]) -> Receipt:
    """The receipt, which comes once and last."""
    assert isinstance(events[-1], Receipt)
    return one(events, Receipt)
