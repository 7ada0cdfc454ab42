"""A backend that does what the test says: one async generator function for each model."""

import hashlib
import struct
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from backends.base import (
    Backend,
    Config,
    Event,
    Lane,
    Model,
    Picture,
    Price,
    Readiness,
    Ready,
    Request,
)
from compare.catalogue.availability import Availability
from compare.catalogue.catalogue import Catalogue
from compare.runs.runner import Runner
from compare.settings import Settings
from compare.store.store import Store
from tests.servers.pictures import png_chunk

Script = Callable[[Request], AsyncGenerator[Event, None]]


def picture(text: str = "one", *, size: int = 2000, seed: int | None = None) -> Picture:
    """A picture whose bytes nobody else has: a PNG by its frame, noise by its content."""
    noise = hashlib.shake_256(text.encode()).digest(size)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", noise)
    return Picture(data=data, width=8, height=8, media_type="image/png", seed=seed)


class Scripted(Backend):
    """Draws by script; `closed` lists the models whose generator came to its end."""

    name = "test"
    label = "Test"

    def __init__(self, config: Config, scripts: Mapping[str, Script], width: int) -> None:
        super().__init__(config)
        self.scripts = scripts
        self.width = width
        self.closed: list[str] = []

    def ready(self, model: Model) -> Ready:
        return Ready(Readiness.READY)

    def lane(self, model: Model) -> Lane:
        return Lane("test", self.width)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        try:
            async with aclosing(self.scripts[model.source](request)) as events:
                async for event in events:
                    yield event
        finally:
            self.closed.append(model.source)


@dataclass
class World:
    """A store, a runner and a scripted backend; `open` and `close` as the process would."""

    home: Path
    scripts: dict[str, Script]
    price: Price
    width: int = 8
    settings: Settings = field(init=False)
    store: Store = field(init=False)
    availability: Availability = field(init=False)
    runner: Runner = field(init=False)
    backend: Scripted = field(init=False)

    def __post_init__(self) -> None:
        models = tuple(
            Model(
                id=f"test/{name}",
                label=name.title(),
                family="test",
                source=name,
                supports=frozenset({"seed", "count"}),
                price=self.price,
            )
            for name in self.scripts
        )
        self.settings = Settings(LINEUP_HOME=self.home)  # pyright: ignore[reportCallIssue]
        self.store = Store(self.home)
        self.backend = Scripted(self.settings.config(), self.scripts, self.width)
        catalogue = Catalogue(models)
        self.availability = Availability(catalogue, self._create, self.settings, self.store)
        self.runner = Runner(self.store, self.availability, self.settings)

    async def open(self) -> None:
        await self.store.open()
        await self.availability.open()

    async def close(self) -> None:
        await self.runner.aclose()
        await self.availability.aclose()
        await self.store.close()

    def _create(self, name: str, config: Config) -> Backend:
        assert name == "test"
        return self.backend
