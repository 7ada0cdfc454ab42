"""A throttle admits a few callers per iteration of the event loop, in order."""

import asyncio

import pytest

from backends.concurrency import Throttle


class Turns:
    """Counts the turns of the running loop."""

    def __init__(self) -> None:
        self.number = 0
        self._count()

    def _count(self) -> None:
        self.number += 1
        asyncio.get_running_loop().call_soon(self._count)


@pytest.mark.parametrize("limit", [1, 3])
async def test_no_more_than_so_many_pass_in_one_turn_and_in_order(limit: int) -> None:
    turns, throttle = Turns(), Throttle(limit)
    passed: list[tuple[int, int]] = []

    async def pass_by(name: int) -> None:
        await throttle.wait()
        passed.append((turns.number, name))

    await asyncio.gather(*(pass_by(name) for name in range(20)))
    assert [name for _, name in passed] == list(range(20))
    when = [turn for turn, _ in passed]
    assert max(when.count(turn) for turn in when) == limit


async def test_whoever_leaves_holds_up_nobody() -> None:
    throttle = Throttle()
    tasks = [asyncio.create_task(throttle.wait()) for _ in range(5)]
    await asyncio.sleep(0)
    for gone in tasks[1:4]:
        gone.cancel()
    await asyncio.wait_for(tasks[4], 5)
    await asyncio.wait_for(throttle.wait(), 5)


async def test_who_is_alone_does_not_wait() -> None:
    turns, throttle = Turns(), Throttle()
    for _ in range(3):
        before = turns.number
        await throttle.wait()
        assert turns.number == before
        await asyncio.sleep(0)
        await asyncio.sleep(0)
