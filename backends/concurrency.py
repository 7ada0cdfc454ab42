"""Several calls of one job at the same time; each result is handed on as it comes."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from backends.errors import BackendError

Result = TypeVar("Result")


async def as_they_come(
    calls: Iterable[Coroutine[Any, Any, Result]],
) -> AsyncGenerator[Result | BackendError, None]:
    """Start all calls; yield what each returns, or the error that it ends in.

    A picture that is there is paid for: it waits for no other, and the failure of another does not
    lose it. Closing this ends the calls that are still under way.
    """
    tasks = [asyncio.create_task(_outcome(call)) for call in calls]
    try:
        for next_one in asyncio.as_completed(tasks):
            yield await next_one
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _outcome(call: Coroutine[Any, Any, Result]) -> Result | BackendError:
    try:
        return await call
    except BackendError as error:
        return error


def enough(came: Sequence[object], failures: Sequence[BackendError]) -> None:
    """Let some pictures of several do where the others cost nothing.

    Raises:
        BackendError: nothing came, or what failed may have been billed.
    """
    unsure = [failure for failure in failures if failure.charged is not False]
    if failures and (unsure or not came):
        raise (unsure or failures)[0]
