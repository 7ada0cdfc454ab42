import asyncio
import contextlib

from backends.base import Lane
from backends.errors import RateLimited, ServiceFault
from compare.runs.lanes import Lanes


async def test_a_lane_runs_as_many_as_it_is_wide_in_the_order_of_asking():
    lanes, lane = Lanes(), Lane("gpu", 2)
    order: list[int] = []
    running = most = 0

    async def job(number: int) -> None:
        nonlocal running, most
        async with lanes.slot(lane):
            order.append(number)
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    await asyncio.gather(*(job(number) for number in range(10)))
    assert most == 2
    assert order == list(range(10))


async def test_a_long_queue_of_one_visitor_lets_the_job_of_another_in_between():
    lanes, lane = Lanes(), Lane("gpu", 1)
    order: list[str] = []

    async def job(visitor: str) -> None:
        async with lanes.slot(lane, visitor):
            order.append(visitor)
            await asyncio.sleep(0.001)

    async with lanes.slot(lane, "long"):
        queue = [asyncio.create_task(job("long")) for _ in range(20)]
        await asyncio.sleep(0)
        late = [asyncio.create_task(job(visitor)) for visitor in ("second", "third", "second")]
        await asyncio.sleep(0)
    await asyncio.gather(*queue, *late)
    assert order[:4] == ["second", "third", "long", "second"]
    assert order[4:] == ["long"] * 19


async def test_lanes_do_not_wait_for_each_other():
    lanes = Lanes()
    async with lanes.slot(Lane("gpu", 1)):
        async with asyncio.timeout(30):
            async with lanes.slot(Lane("openai", 1)):
                pass


async def test_a_cancelled_waiter_leaves_its_turn_to_the_next():
    lanes, lane = Lanes(), Lane("gpu", 1)

    async def wait() -> str:
        async with lanes.slot(lane):
            return "had a turn"

    async with lanes.slot(lane):
        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        first.cancel()
    assert await asyncio.wait_for(second, 30) == "had a turn"
    assert first.cancelled()


async def test_a_cancelled_job_gives_its_turn_back_even_in_the_moment_it_comes():
    lanes, lane = Lanes(), Lane("gpu", 1)

    async def wait() -> str:
        async with lanes.slot(lane):
            return "had a turn"

    async with lanes.slot(lane):
        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
    first.cancel()  # its turn has come, but it has not run yet
    assert await asyncio.wait_for(second, 30) == "had a turn"


async def most_at_once(lanes: Lanes, lane: Lane, *, limited: bool = False, jobs: int = 16) -> int:
    running = most = 0

    async def job() -> None:
        nonlocal running, most
        with contextlib.suppress(RateLimited):
            async with lanes.slot(lane):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.001)
                running -= 1
                if limited:
                    raise RateLimited("Too many requests. Try again later.")

    await asyncio.gather(*(job() for _ in range(jobs)))
    return most


async def test_too_many_requests_halve_a_lane_once_for_all_that_were_under_way():
    lanes, lane = Lanes(), Lane("service", 8)
    assert await most_at_once(lanes, lane, limited=True, jobs=8) == 8
    assert await most_at_once(lanes, lane, jobs=4) == 4
    assert await most_at_once(lanes, Lane("other", 8)) == 8


async def test_a_narrowed_lane_keeps_one_turn_and_recovers():
    lanes, lane = Lanes(), Lane("service", 8)
    for _ in range(6):
        await most_at_once(lanes, lane, limited=True, jobs=1)
    assert await most_at_once(lanes, lane, jobs=2) <= 2
    for _ in range(60):
        await most_at_once(lanes, lane, jobs=1)
    assert await most_at_once(lanes, lane) == 8


async def test_other_errors_do_not_narrow_a_lane():
    lanes, lane = Lanes(), Lane("service", 4)
    for _ in range(3):
        with contextlib.suppress(ServiceFault):
            async with lanes.slot(lane):
                raise ServiceFault("The service failed. Try again.")
    assert await most_at_once(lanes, lane) == 4
