"""The two addresses beside Gradio's: pictures byte for byte, and a run's events."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from hashlib import sha256
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
    Queued,
    Readiness,
    Ready,
    Request,
)
from backends.errors import Outcome, Refused
from backends.images.validation import check
from compare.catalogue.catalogue import Catalogue
from compare.records import RunSpec
from compare.settings import Settings
from ui.board.renderer import Renderer
from ui.context import Context
from ui.server.routes import routes

MODELS = Catalogue(
    (
        Model(id="painter/good", label="Good", family="test", source="good"),
        Model(id="painter/prim", label="Prim", family="test", source="prim"),
        Model(id="painter/person", label="Person", family="test", source="person"),
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
        if model.source == "person":
            brought: asyncio.Queue[bytes] = asyncio.Queue()
            yield Queued(message="Carry this", command="/draw", take=brought.put_nowait)
            yield check(await brought.get())
            return
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
    spec = RunSpec(Request(prompt="a square", seed=7))
    run = await runner.start(spec, ["painter/good", "painter/prim"])
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


async def test_the_variants_of_a_prompt_say_how_each_of_them_stands(
    context: Context, client: httpx2.AsyncClient
) -> None:
    runner = (await context.lineup()).runner
    specs = [RunSpec(Request(prompt=f"a {colour} square")) for colour in ("red", "blue")]
    runs = await runner.start_all(specs, ["painter/good"])
    for run in runs:
        async for _ in runner.watch(run.id):
            pass
    query = "&".join(f"id={run.id}" for run in (*runs, runs[0]))
    done = {"state": "done", "total": 1, "ended": 1, "done": 1}
    answer = await client.get(f"/lineup/runs?id=nobody&{query}")
    assert answer.json() == {run.id: done for run in runs}
    assert (await client.get("/lineup/runs")).json() == {}


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


async def test_a_person_brings_a_picture(context: Context, client: httpx2.AsyncClient) -> None:
    runner = (await context.lineup()).runner
    run = await runner.start(RunSpec(Request(prompt="a square")), ["painter/person"])
    address = f"/lineup/runs/{run.id}/jobs/{run.jobs[0].id}/picture"
    async with aclosing(runner.watch(run.id)) as jobs:
        job = await anext(job async for job in jobs if job.by_hand)
    assert "Drop the grid here" in Renderer(MODELS).card(run, job)
    damaged = await client.post(address, content=png()[:-20])
    assert damaged.status_code == 422 and "no whole picture" in damaged.text
    assert (await client.post(address, content=png())).status_code == 204
    *_, job = [job async for job in runner.watch(run.id)]
    assert job.outcome is Outcome.DONE and job.pictures[0].sha256 == sha256(png()).hexdigest()
    late = await client.post(address, content=png())
    assert late.status_code == 422 and "waits for no picture any more" in late.text


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
