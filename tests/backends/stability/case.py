"""What the tests of the Stability backend share: a server, the catalogue's models, one job."""

from pathlib import Path

from backends.base import Config, Event, Model, Picture, Receipt, Request
from backends.errors import BackendError
from backends.stability import Stability
from compare.catalogue import catalogue
from tests.backends.stability.harness import KEY
from tests.servers.stability import StabilityServer

ASK = Request(prompt="a lighthouse")


def model(name: str) -> Model:
    """A model as the catalogue describes it."""
    return catalogue.load().find(f"stability/{name}")


def backend(server: StabilityServer, **settings: str) -> Stability:
    values = {"STABILITY_API_KEY": KEY, "STABILITY_BASE_URL": server.origin, **settings}
    return Stability(Config(value=values.get, home=Path("unused")))


async def attempt(
    server: StabilityServer, name: str, request: Request = ASK, **settings: str
) -> tuple[list[Event], BackendError | None]:
    """The events of a job, and the error that ended it."""
    drawer, events = backend(server, **settings), list[Event]()
    try:
        async for event in drawer.generate(model(name), request):
            events.append(event)
    except BackendError as error:
        return events, error
    finally:
        await drawer.aclose()
    return events, None


async def draw(server: StabilityServer, name: str, request: Request = ASK) -> list[Event]:
    events, error = await attempt(server, name, request)
    if error is not None:
        raise error
    return events


def pictures_of(events: list[Event]) -> list[Picture]:
    return [event for event in events if isinstance(event, Picture)]


def receipt_of(events: list[Event]) -> Receipt:
    assert isinstance(events[-1], Receipt)
    return events[-1]
