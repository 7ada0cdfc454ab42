"""Concurrent calls: pictures as they arrive, what a partial failure means, and the receipt."""

import asyncio
import datetime
from contextlib import aclosing

import pytest

from backends.base import Applied, Model, Picture, Readiness, State, Status
from backends.errors import BackendError, BadInput, MissingKey, RateLimited, Refused, ServiceFault
from backends.hosted import ConcurrentCalls, Result, readiness, require_available

PICTURE = Picture(data=b"", width=64, height=64, media_type="image/png")
HONOURED = {"size": Applied("64x64", "64x64"), "count": Applied(3, 3)}


async def returns(delay: float = 0.0, *, tokens: int = 5, seconds: float = 1.0) -> Result:
    await asyncio.sleep(delay)
    return Result(pictures=(PICTURE,), usage={"image_output": tokens}, generate=seconds)


async def fails(error: BackendError) -> Result:
    raise error


async def drawn(calls: ConcurrentCalls) -> list[Picture]:
    async with aclosing(calls.pictures()) as pictures:
        return [picture async for picture in pictures]


async def test_the_receipt_sums_usage_and_has_the_longest_time() -> None:
    calls = ConcurrentCalls(returns(tokens=number, seconds=number) for number in (1, 2, 3))
    assert await drawn(calls) == [PICTURE] * 3
    receipt = calls.receipt(HONOURED)
    assert (receipt.usage, receipt.generate, receipt.download) == ({"image_output": 6}, 3, None)
    assert receipt.honoured == HONOURED


async def test_usage_is_unknown_where_one_response_does_not_count_it() -> None:
    async def uncounted() -> Result:
        return Result(pictures=(PICTURE,))

    calls = ConcurrentCalls([returns(), uncounted()])
    await drawn(calls)
    assert calls.receipt(HONOURED).usage == {}


async def test_free_failures_are_noted_where_pictures_came() -> None:
    calls = ConcurrentCalls([returns(), fails(RateLimited("Wait.")), returns()])
    assert len(await drawn(calls)) == 2
    assert calls.receipt(HONOURED).honoured["count"].note == "2 instead of 3 pictures: Wait."


async def test_a_failure_that_may_be_billed_is_noted_and_leaves_the_cost_open() -> None:
    fault = ServiceFault("It failed.")
    calls = ConcurrentCalls([fails(fault), fails(RateLimited("Wait.")), returns(0.05)])
    assert await drawn(calls) == [PICTURE]
    receipt = calls.receipt(HONOURED)
    assert receipt.honoured["count"].note == "1 instead of 3 pictures: It failed."
    assert receipt.may_owe_more


async def test_of_several_failures_the_one_that_may_be_billed_is_raised() -> None:
    fault = ServiceFault("It failed.")
    with pytest.raises(ServiceFault) as caught:
        await drawn(ConcurrentCalls([fails(RateLimited("Wait.")), fails(fault)]))
    assert caught.value is fault


async def test_a_refusal_that_used_tokens_costs_them() -> None:
    refused = Refused("It was withheld.")
    refused.charged, refused.usage = None, {"image_output": 7}
    calls = ConcurrentCalls([fails(refused), returns(0.05)])
    await drawn(calls)
    receipt = calls.receipt(HONOURED)
    assert receipt.usage == {"image_output": 12} and not receipt.may_owe_more


async def test_a_result_may_hold_some_of_its_pictures() -> None:
    async def half() -> Result:
        return Result(pictures=(PICTURE,), losses=(ServiceFault("It is damaged."),))

    calls = ConcurrentCalls([half()])
    await drawn(calls)
    note = calls.receipt({**HONOURED, "count": Applied(2, 2)}).honoured["count"].note
    assert note == "1 instead of 2 pictures: It is damaged."


async def test_prepaid_pictures_do_with_any_that_came() -> None:
    calls = ConcurrentCalls([fails(ServiceFault("Lost.")), returns()], prepaid=True)
    assert await drawn(calls) == [PICTURE]
    none = ConcurrentCalls([fails(ServiceFault("Lost."))], prepaid=True)
    with pytest.raises(ServiceFault, match="Lost"):
        await drawn(none)


async def test_closing_cancels_the_calls_under_way() -> None:
    cancelled = asyncio.Event()

    async def hangs() -> Result:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    calls = ConcurrentCalls([hangs(), returns(0.01)])
    async with aclosing(calls.pictures()) as pictures:
        await anext(pictures)
    assert cancelled.is_set()


def fail_with(error: BackendError) -> None:
    raise error


def test_readiness_follows_from_the_error() -> None:
    assert readiness(lambda: None).state is Readiness.READY
    missing = readiness(lambda: fail_with(MissingKey("Set it.")))
    assert (missing.state, missing.sentence) == (Readiness.NEEDS_KEY, "Set it.")
    assert readiness(lambda: fail_with(BadInput("No."))).state is Readiness.UNAVAILABLE


def test_a_retired_model_is_named_with_date_and_successor() -> None:
    status = Status(state=State.RETIRED, date=datetime.date(2026, 5, 4), successor="new")
    model = Model(id="a/old", label="Old", family="", source="old", status=status)
    with pytest.raises(BackendError, match=r"Old was shut down on 4 May 2026\. Use new instead\."):
        require_available(model)
