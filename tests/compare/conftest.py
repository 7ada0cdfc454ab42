from collections.abc import AsyncGenerator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest

from backends.base import Basis, Price
from compare.store.store import Store
from tests.compare.scripted import Script, World

PAID = Price(basis=Basis.PRICE_LIST, per_image=Decimal("0.02"), source="https://example.org")
FREE = Price(basis=Basis.FREE)

Build = Callable[..., Awaitable[World]]


@pytest.fixture
async def build(home: Path) -> AsyncGenerator[Build]:
    """Open worlds of scripted models; they are closed when the test ends."""
    worlds: list[World] = []

    async def opened(*, width: int = 8, price: Price = PAID, **scripts: Script) -> World:
        world = World(home, scripts, price, width)
        worlds.append(world)
        await world.open()
        return world

    yield opened
    for world in worlds:
        await world.close()


@pytest.fixture
async def store(home: Path) -> AsyncGenerator[Store]:
    store = Store(home)
    await store.open()
    yield store
    await store.close()
