"""What stays in memory is bounded twice, and the least recently used goes first."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from backends.base import Config, Loading, Model, Request
from backends.errors import NotReady
from backends.local import Local
from backends.local.memory.cache import CacheEntry, ModelCache
from tests.backends.local.tiny import models as tiny


def held(pool: ModelCache[str], name: str) -> bool:
    """Ask for `name`, and say whether it was there already."""
    there = name in pool
    pool.get(name, lambda: CacheEntry(name.upper(), 10))
    pool.shrink(keep=frozenset({name}))
    return there


def test_the_least_recently_used_goes_first() -> None:
    freed: list[int] = []
    pool: ModelCache[str] = ModelCache(30, free=lambda created: freed.append(1))
    assert [held(pool, name) for name in "abc"] == [False] * 3
    assert held(pool, "a")  # now b is the oldest
    assert not held(pool, "d")
    assert ("b" in pool, "a" in pool, "c" in pool, "d" in pool) == (False, True, True, True)
    assert (pool.device_bytes, len(freed)) == (30, 1)


def test_what_is_needed_now_stays_however_large_and_goes_afterwards() -> None:
    pool: ModelCache[str] = ModelCache(15)
    pool.get("small", lambda: CacheEntry("small", 10))
    assert pool.get("large", lambda: CacheEntry("large", 100)) == "large"
    pool.shrink(keep=frozenset({"large"}))
    assert ("small" in pool, "large" in pool) == (False, True)
    pool.shrink()
    assert len(pool) == 0


def test_what_no_longer_fits_on_the_device_waits_in_ram_and_comes_back() -> None:
    moved: list[tuple[str, bool]] = []
    pool: ModelCache[str] = ModelCache(
        20, ram_budget=10, move=lambda thing, away: moved.append((thing, away))
    )
    assert [held(pool, name) for name in "abc"] == [False] * 3
    assert (moved, pool.device_bytes, pool.ram_bytes) == ([("A", True)], 20, 10)
    assert held(pool, "a")  # and b waits in its place
    assert moved[1:] == [("B", True), ("A", False)]
    assert (pool.device_bytes, pool.ram_bytes) == (20, 10)
    assert not held(pool, "d")  # c waits, and for b there is no room any more
    assert ("b" in pool, "c" in pool, pool.device_bytes, pool.ram_bytes) == (False, True, 20, 10)
    pool.clear()
    assert (len(pool), pool.device_bytes, pool.ram_bytes) == (0, 0, 0)


def test_an_offloaded_model_counts_in_ram_and_on_the_device_while_it_draws() -> None:
    pool: ModelCache[str] = ModelCache(20, ram_budget=100, move=lambda thing, away: None)
    assert not held(pool, "a")
    assert not held(pool, "b")
    pool.get("vast", lambda: CacheEntry("vast", 0, offloaded=90, transient=15))
    pool.shrink(keep=frozenset({"vast"}))  # room for fifteen: both go away, and only one has room
    assert ("a" in pool, "b" in pool, pool.device_bytes, pool.ram_bytes) == (False, True, 0, 100)


def test_what_is_offloaded_but_for_a_part_is_never_moved_as_a_whole() -> None:
    moved: list[str] = []
    pool: ModelCache[str] = ModelCache(
        10, ram_budget=100, move=lambda thing, away: moved.append(thing)
    )
    pool.get("light", lambda: CacheEntry("light", 5, offloaded=50))
    assert not held(pool, "a")
    assert ("light" in pool, moved) == (False, [])


def test_what_is_outdated_is_released_and_nothing_else() -> None:
    freed: list[int | None] = []
    pool: ModelCache[str] = ModelCache(100, freed.append)
    for name in "abc":
        held(pool, name)
    pool.discard(lambda key: key in ("a", "c", "d"))
    assert ("a" in pool, "b" in pool, "c" in pool, pool.device_bytes) == (False, True, False, 10)
    assert len(freed) == 2
    assert held(pool, "b") and not held(pool, "a")


def test_room_is_made_before_a_model_comes() -> None:
    pool: ModelCache[str] = ModelCache(20)
    held(pool, "a")

    def load() -> CacheEntry[str]:
        assert pool.device_bytes == 0
        return CacheEntry("large", 15)

    pool.get("large", load, expected=15)


def test_a_load_that_fails_leaves_no_trace() -> None:
    pool: ModelCache[str] = ModelCache(15)

    def fail() -> CacheEntry[str]:
        raise OSError

    with pytest.raises(OSError):
        pool.get("a", fail)
    assert "a" not in pool


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    here = tmp_path_factory.mktemp("memory")
    return [tiny.model(tiny.diffusion(here / f"model{seed}", seed)) for seed in range(3)]


def weight(model: Model) -> int:
    """The bytes of a model's weights on disk, which are those in memory."""
    return sum(file.stat().st_size for file in Path(model.source).glob("*/*.safetensors"))


@pytest_asyncio.fixture
async def local(
    models: list[Model], tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncGenerator[Local, None]:
    """A backend with room for as many tiny models as the test says."""
    room = {"LINEUP_MEMORY_GB": str(weight(models[0]) * (request.param + 0.5) / 1e9)}
    backend = Local(Config(value=room.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def loads(local: Local, model: Model) -> bool:
    """Draw with `model` and say whether it had to be loaded."""
    request = Request(prompt="x", num_inference_steps=1)
    return any([isinstance(event, Loading) async for event in local.generate(model, request)])


@pytest.mark.parametrize("local", [2], indirect=True)
async def test_two_of_three_models_stay(local: Local, models: list[Model]) -> None:
    first, second, third = models
    assert [await loads(local, model) for model in (first, second, first)] == [True, True, False]
    assert await loads(local, third)  # and the second goes
    assert not await loads(local, first)
    assert await loads(local, second)


@pytest.mark.parametrize("local", [-0.4], indirect=True)
async def test_a_model_larger_than_the_bound_draws_and_goes(
    local: Local, models: list[Model]
) -> None:
    assert await loads(local, models[0])
    assert await loads(local, models[0])


async def test_on_a_card_two_budgets_hold_three_models(models: list[Model], tmp_path: Path) -> None:
    two, three = (str(weight(models[0]) * (count + 0.5) / 1e9) for count in (1, 1))
    settings = {"LINEUP_DEVICE": "cpu:0", "LINEUP_MEMORY_GB": two, "LINEUP_RAM_GB": three}
    local = Local(Config(value=settings.get, home=tmp_path))
    first, second, third = models
    assert [await loads(local, model) for model in (first, second, first)] == [True, True, False]
    assert await loads(local, third)  # the first waits, and the second is gone
    assert not await loads(local, first)
    assert await loads(local, second)
    await local.aclose()
    assert await loads(local, first)


@pytest.mark.parametrize("words", ["lots", "-1", "inf"])
@pytest.mark.parametrize("name", ["LINEUP_MEMORY_GB", "LINEUP_RAM_GB"])
async def test_a_bound_that_is_no_number_is_a_sentence(
    models: list[Model], tmp_path: Path, name: str, words: str
) -> None:
    local = Local(Config(value={"LINEUP_DEVICE": "cpu:0", name: words}.get, home=tmp_path))
    with pytest.raises(NotReady, match=f"{name} is not a number"):
        await loads(local, models[0])


async def test_a_device_that_is_not_there_is_a_sentence(
    models: list[Model], tmp_path: Path
) -> None:
    local = Local(Config(value={"LINEUP_DEVICE": "abacus"}.get, home=tmp_path))
    assert local.lane(models[0]).name == "local abacus"
    with pytest.raises(NotReady, match="no device 'abacus'"):
        await loads(local, models[0])
