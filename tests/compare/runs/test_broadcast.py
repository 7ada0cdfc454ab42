import asyncio
import time

from compare.runs.broadcast import Broadcast


async def collect(news: Broadcast[str, int]) -> list[int]:
    return [item async for item in news.watch()]


async def test_watcher_sees_the_present_state_then_every_change():
    news: Broadcast[str, int] = Broadcast()
    news.publish("a", 1)
    watching = asyncio.create_task(collect(news))
    await asyncio.sleep(0)
    news.publish("a", 2)
    await asyncio.sleep(0)
    news.publish("b", 3)
    await asyncio.sleep(0)
    news.close()
    assert await watching == [1, 2, 3]


async def test_slow_watcher_gets_the_newest_of_each_key_only():
    news: Broadcast[str, int] = Broadcast()
    watch = news.watch()
    news.publish("a", 0)
    assert await anext(watch) == 0
    for number in range(1, 1000):
        news.publish("a", number)
        news.publish("b", -number)
    news.close()
    assert [item async for item in watch] == [999, -999]


async def test_late_watcher_of_a_closed_broadcast_sees_the_end_state():
    news: Broadcast[str, int] = Broadcast()
    news.publish("a", 1)
    news.publish("a", 2)
    news.close()
    assert await collect(news) == [2]


async def test_leaving_does_not_disturb_others():
    news: Broadcast[str, int] = Broadcast()
    news.publish("a", 1)
    leaver = news.watch()
    await anext(leaver)
    stayer = asyncio.create_task(collect(news))
    await asyncio.sleep(0)
    await leaver.aclose()
    news.publish("a", 2)
    news.close()
    assert await stayer == [1, 2]


async def test_hurried_past_items_are_told_once_an_interval_and_the_last_is_not_lost():
    news: Broadcast[str, int] = Broadcast(interval=0.05)
    watching = asyncio.create_task(collect(news))
    await asyncio.sleep(0)
    began = time.monotonic()
    for number in range(100):
        news.publish_soon("a", number)
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    news.close()
    seen = await watching
    assert seen[0] == 0 and seen[-1] == 99
    assert seen == sorted(seen)
    # 100 ms and more of news at one each 50 ms, not 100; a busy machine takes longer over them.
    assert len(seen) <= 3 + (time.monotonic() - began) / 0.05


async def test_an_item_that_waits_for_its_turn_comes_before_the_end():
    news: Broadcast[str, int] = Broadcast(interval=60)
    watching = asyncio.create_task(collect(news))
    await asyncio.sleep(0)
    news.publish_soon("a", 1)
    await asyncio.sleep(0)
    news.publish_soon("a", 2)
    news.close()
    assert (await watching)[-1] == 2
