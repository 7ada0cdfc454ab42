"""The pace of many that could go on at once: a few in each turn of the event loop, in order."""

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


@pytest.mark.parametrize("most", [1, 3])
async def test_no_more_than_so_many_pass_in_one_turn_and_in_order(most: int) -> None:
    turns, pace = Turns(), Throttle(most)
    passed: list[tuple[int, int]] = []

    async def pass_by(name: int) -> None:
        await pace.wait()
        passed.append((turns.number, name))

    await asyncio.gather(*(pass_by(name) for name in range(20)))
    assert [name for _, name in passed] == list(range(20))
    when = [turn for turn, _ in passed]
    assert max(when.count(turn) for turn in when) == most


async def test_whoever_leaves_holds_up_nobody() -> None:
    pace = Throttle()
    tasks = [asyncio.create_task(pace.wait()) for _ in range(5)]
    await asyncio.sleep(0)
    for gone in tasks[1:4]:
        gone.cancel()
    await asyncio.wait_for(tasks[4], 5)
    await asyncio.wait_for(pace.wait(), 5)


async def test_who_is_alone_does_not_wait() -> None:
    turns, pace = Turns(), Throttle()
    for _ in range(3):
        before = turns.number
        await pace.wait()
        assert turns.number == before
        await asyncio.sleep(0)
        await asyncio.sleep(0)
