import asyncio

from backends.base import Lane
from compare.lanes import Lanes


async def test_a_lane_runs_as_many_as_it_is_wide_in_the_order_of_asking():
    lanes, lane = Lanes(), Lane("gpu", 2)
    order: list[int] = []
    running = most = 0

    async def job(number: int) -> None:
        nonlocal running, most
        async with lanes.of(lane):
            order.append(number)
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    await asyncio.gather(*(job(number) for number in range(10)))
    assert most == 2
    assert order == list(range(10))


async def test_lanes_do_not_wait_for_each_other():
    lanes = Lanes()
    async with lanes.of(Lane("gpu", 1)):
        async with asyncio.timeout(1):
            async with lanes.of(Lane("openai", 1)):
                pass


async def test_a_cancelled_waiter_leaves_its_turn_to_the_next():
    lanes, lane = Lanes(), Lane("gpu", 1)

    async def wait() -> str:
        async with lanes.of(lane):
            return "had a turn"

    async with lanes.of(lane):
        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        first.cancel()
    assert await asyncio.wait_for(second, 1) == "had a turn"
    assert first.cancelled()
