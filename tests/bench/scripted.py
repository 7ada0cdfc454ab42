"""Lineup with one scripted backend, for benchmarks of what lies between a picture and a screen.

`python -m tests.bench.scripted --port N --wait S` serves the whole app; its only model takes a
picture from `--pictures` every `--wait` seconds and writes the moment it hands it over to `--log`.
"""

import argparse
import asyncio
import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from backends.base import (
    Backend,
    Config,
    Event,
    Lane,
    Model,
    Picture,
    Progress,
    Readiness,
    Ready,
    Request,
)
from compare.catalogue.catalogue import Catalogue
from compare.settings import Settings
from ui.board.renderer import Renderer
from ui.context import Context
from ui.page import serve

MODELS = 8


class Scripted(Backend):
    """Hands over files as pictures, model number k after k waits."""

    name = "scripted"
    label = "scripted"
    wait = 1.0
    log = Path("/dev/null")
    files: tuple[Path, ...] = ()

    def ready(self, model: Model) -> Ready:
        return Ready(Readiness.READY)

    def lane(self, model: Model) -> Lane:
        return Lane("scripted", 10_000)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        number = int(model.source)
        yield Progress()
        await asyncio.sleep(self.wait * number)
        data = self.files[(number - 1) % len(self.files)].read_bytes()
        handed = {"model": model.id, "at": time.time()}
        with self.log.open("a") as log:
            log.write(json.dumps(handed) + "\n")
        yield Picture(data=data, width=1024, height=1024, media_type="image/png")


def catalogue() -> Catalogue:
    """Return one model per number."""
    return Catalogue(
        tuple(
            Model(id=f"scripted/{n}", label=f"Scripted {n}", family="scripted", source=str(n))
            for n in range(1, MODELS + 1)
        )
    )


def create(_name: str, config: Config) -> Backend:
    """Return the scripted backend, whatever is asked for."""
    return Scripted(config)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--wait", type=float, default=1.0)
    parser.add_argument("--models", type=int, default=1)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    asked = parser.parse_args()
    Scripted.wait, Scripted.log = asked.wait, asked.log
    Scripted.files = tuple(sorted(asked.pictures.glob("*.png")))
    chosen = [f"scripted/{n}" for n in range(1, asked.models + 1)]
    context = Context(Settings.read(), catalogue(), create=create, first=chosen)
    serve(context, Renderer(context.catalogue), server_port=asked.port, quiet=True)


if __name__ == "__main__":
    main()
