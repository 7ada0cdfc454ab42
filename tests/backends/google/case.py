"""What the tests of the Google backend share: a model, a backend on a server, the events."""

from pathlib import Path
from typing import Any

from backends.base import Config, Event, Model, Picture, Receipt, Request, Sizes
from backends.google import Google

KEY = "AIzaSyVerySecretIndeed1234"
ASK = Request(prompt="a lighthouse")
MODEL = Model(
    id="google/gemini-nano-banana-2.1",
    label="Nano Banana 2.1",
    family="closed",
    source="gemini-nano-banana-2.1",
    supports=frozenset({"negative_prompt", "seed", "count", "image"}),
    sizes=Sizes(native=((1024, 1024), (1376, 768), (848, 1264)), only_native=True),
    most_count=4,
    options={
        "image_sizes": "1K, 2K, 4K",
        "image_size": "1K",
        "thinking_levels": "minimal, high",
    },
)


def backend(origin: str | None = None, **settings: str) -> Google:
    """A backend with a key, on a server where `origin` names one."""
    values = {"GOOGLE_API_KEY": KEY, **settings}
    if origin is not None:
        values["GOOGLE_BASE_URL"] = origin
    return Google(Config(value=values.get, home=Path("unused")))


async def events(drawer: Google, model: Model = MODEL, request: Request = ASK) -> list[Event]:
    """All events of one job."""
    try:
        return [event async for event in drawer.generate(model, request)]
    finally:
        await drawer.aclose()


def kinds(events: list[Event]) -> list[str]:
    """The events' names in order."""
    return [type(event).__name__ for event in events]


def pictures_of(events: list[Event]) -> list[Picture]:
    """The pictures among the events."""
    return [event for event in events if isinstance(event, Picture)]


def receipt_of(events: list[Event]) -> Receipt:
    """The receipt, which comes once and last."""
    (receipt,) = (event for event in events if isinstance(event, Receipt))
    assert events[-1] is receipt
    return receipt


def asked(**google: Any) -> Request:
    """A request with options of this backend."""
    return Request(prompt="a lighthouse", options={"google": google})
