"""What the tests of runs share: scripts that models follow, and waiting for what they do."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from backends.base import (
    Event,
    Progress,
    Receipt,
    Request,
    Sending,
)
from compare.records import Job, Phase, Run, RunSpec
from tests.compare.scripted import World, picture

SPEC = RunSpec(Request(prompt="a fox"))
Events = AsyncGenerator[Event, None]
NO = "select raise(fail, 'no')"
"""What a trigger does that lets nothing be written down."""


def changed(spec: RunSpec, **fields: Any) -> RunSpec:
    """Return `spec` with other values in its request."""
    return replace(spec, request=replace(spec.request, **fields))


async def good(request: Request) -> Events:
    yield Sending()
    yield picture(request.prompt)
    yield Receipt()


async def forever(request: Request) -> Events:
    yield Progress(step=1, steps=2)
    await asyncio.sleep(3600)


async def sent_forever(request: Request) -> Events:
    yield Sending()
    await asyncio.sleep(3600)


async def finish(world: World, run: Run) -> Run:
    async with asyncio.timeout(60):
        async for _ in world.runner.watch(run.id):
            pass
    ended = await world.runner.get(run.id)
    assert ended is not None
    return ended


async def until(world: World, run: Run, phase: Phase) -> Job:
    """Wait until the first job is in `phase`."""
    async with asyncio.timeout(60), aclosing(world.runner.watch(run.id)) as jobs:
        async for job in jobs:
            if job.phase is phase:
                return job
    raise AssertionError(f"never {phase}")


async def only(world: World, spec: RunSpec = SPEC) -> Job:
    """Run the world's only model to its end, and hold the store to what the runner says."""
    (name,) = world.scripts
    run = await finish(world, await world.runner.start(spec, [f"test/{name}"]))
    (job,) = run.jobs
    stored = await world.store.run(run.id)
    assert stored is not None and stored.jobs == (replace(job, preview=None),)
    return job
