"""The two addresses beside Gradio's: pictures byte for byte, and a run's events."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from io import BytesIO
from pathlib import Path

import httpx2
import pytest
from PIL import Image
from starlette.applications import Starlette

from backends.base import (
    Backend,
    Config,
    Event,
    Lane,
    Model,
    Picture,
    Readiness,
    Ready,
    Request,
)
from backends.errors import Refused
from compare.catalogue import Catalogue
from compare.settings import Settings
from ui.board import Renderer
from ui.context import Context
from ui.routes import routes

MODELS = Catalogue(
    (
        Model(id="painter/good", label="Good", family="test", source="good"),
        Model(id="painter/prim", label="Prim", family="test", source="prim"),
    )
)


def png() -> bytes:
    """Return a small picture."""
    file = BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


class Painter(Backend):
    """Draws one picture, or declines."""

    name = "painter"
    label = "painter"

    def ready(self, model: Model) -> Ready:
        return Ready(Readiness.READY)

    def lane(self, model: Model) -> Lane:
        return Lane("painter", 8)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        if model.source == "prim":
            raise Refused("The painter declined. Ask for something else.")
        yield Picture(data=png(), width=8, height=8, media_type="image/png", seed=request.seed)


def create(_name: str, config: Config) -> Backend:
    return Painter(config)


@pytest.fixture
async def context(home: Path) -> AsyncIterator[Context]:
    context = Context(Settings.read(), MODELS, create=create, first=["painter/good"])
    async with context.lifespan(None):
        yield context


@pytest.fixture
async def client(context: Context) -> AsyncIterator[httpx2.AsyncClient]:
    app = Starlette(routes=routes(context, Renderer(MODELS)))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://lineup") as client:
        yield client


async def drawn(context: Context) -> str:
    """Run both models to the end and return the run's id."""
    runner = (await context.lineup()).runner
    request = Request(prompt="a square", seed=7)
    run = await runner.start(request, [model.id for model in MODELS.models])
    async for _ in runner.watch(run.id):
        pass
    return run.id


def events(text: str) -> list[tuple[str, dict[str, str]]]:
    """Return the name and the data of each event."""
    pairs = [block.split("\ndata: ") for block in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data)) for name, data in pairs]


async def test_a_runs_events_bring_every_card_and_then_end(
    context: Context, client: httpx2.AsyncClient
) -> None:
    answer = await client.get(f"/lineup/runs/{await drawn(context)}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    *jobs, last = events(answer.text)
    assert last == ("end", {})
    cards = {data["card_id"]: data["card"] for _, data in jobs}
    assert "lineup/pictures/" in cards["card:painter/good"]
    assert "The painter declined." in cards["card:painter/prim"]


async def test_a_picture_is_served_byte_for_byte_and_for_ever(
    context: Context, client: httpx2.AsyncClient
) -> None:
    lineup = await context.lineup()
    run = await lineup.runner.get(await drawn(context))
    assert run is not None
    picture = run.jobs[0].pictures[0]
    answer = await client.get(f"/lineup/pictures/{picture.sha256}.png")
    assert answer.content == png()
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    "path",
    [
        "/lineup/pictures/0000.png",
        "/lineup/pictures/..%2F..%2Flineup.db",
        "/lineup/pictures/%2e%2e",
        "/lineup/runs/nobody/events",
    ],
)
async def test_what_is_not_there_is_a_sentence_and_nothing_else(
    client: httpx2.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert "There is no such" in answer.text or answer.text == "Not Found"
