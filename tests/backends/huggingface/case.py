"""What the tests of the Hugging Face backend share: a backend on a server, and its events."""

from dataclasses import replace
from pathlib import Path

from backends.base import Config, Event, Model, Request
from backends.errors import BackendError
from backends.huggingface import HuggingFace
from tests.backends.huggingface.harness import MODEL, TOKEN
from tests.servers.huggingface import HuggingFaceServer

ASK = Request(
    prompt="a lighthouse",
    negative_prompt="people",
    width=1344,
    height=768,
    num_inference_steps=20,
    guidance_scale=4.0,
    seed=7,
)


def backend(server: HuggingFaceServer, **settings: str) -> HuggingFace:
    here = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": server.origin, "HF_INFERENCE_BASE": server.origin}
    return HuggingFace(Config(value={**here, **settings}.get, home=Path("unused")))


def by(provider: str, request: Request = ASK, **options: str) -> Request:
    return replace(request, options={"huggingface": {"provider": provider, **options}})


async def draw(
    server: HuggingFaceServer, request: Request = ASK, model: Model = MODEL, **settings: str
) -> list[Event]:
    events, error = await attempt(server, request, model, **settings)
    if error is not None:
        raise error
    return events


async def attempt(
    server: HuggingFaceServer, request: Request = ASK, model: Model = MODEL, **settings: str
) -> tuple[list[Event], BackendError | None]:
    """The events of a job, and the error that ended it."""
    drawer, events = backend(server, **settings), list[Event]()
    try:
        async for event in drawer.generate(model, request):
            events.append(event)
    except BackendError as error:
        return events, error
    finally:
        await drawer.aclose()
    return events, None
