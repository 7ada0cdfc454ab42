"""What a picture of Stability AI cost: by the balance where it can tell, else by the list."""

import base64
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from backends.base import Config, Picture, Receipt, Sending
from backends.stability import Stability
from compare import pricing
from tests.backends.stability.case import (
    ASK,
    attempt,
    backend,
    draw,
    model,
    pictures_of,
    receipt_of,
)
from tests.backends.stability.harness import KEY
from tests.servers import pictures
from tests.servers.scripted import Script
from tests.servers.stability import SUCCESS, StabilityServer, failing


async def test_the_balance_tells_what_was_taken(server: StabilityServer) -> None:
    server.credits = 20.1  # 7.100000000000001 are left
    events = await draw(server, "sd3.5-large", replace(ASK, count=2))
    assert receipt_of(events).charged == Decimal("0.13")


async def test_nothing_is_sent_for_a_picture_before_it_is_said(server: StabilityServer) -> None:
    drawer = backend(server)
    async with aclosing(drawer.generate(model("core"), ASK)) as events:
        async for event in events:
            assert isinstance(event, Sending)
            break
    assert [received.path for received in server.requests] == ["/v1/user/balance"]
    await drawer.aclose()


@pytest.mark.parametrize(
    "balances",
    [
        Script(status=401),
        Script(raw=b"<html></html>"),
        Script(raw=b'{"credits": null}'),
        Script(raw=b'{"credits": 70}'),  # it has not sunk
        Script(cut=4),
    ],
)
async def test_without_a_balance_the_price_list_counts(
    server: StabilityServer, balances: Script
) -> None:
    server.balances = balances
    receipt = receipt_of(await draw(server, "ultra"))
    assert receipt.charged is None
    work = pricing.BillableWork(model=model("ultra"), request=ASK, receipt=receipt, seconds=2.0)
    cost = pricing.settle(work, 1)
    assert cost.amount == Decimal("0.08")


async def test_jobs_side_by_side_are_priced_by_the_list(server: StabilityServer) -> None:
    drawer = backend(server)

    async def job() -> Receipt:
        return receipt_of([event async for event in drawer.generate(model("core"), ASK)])

    first = drawer.generate(model("core"), ASK)
    assert isinstance(await anext(first), Sending)
    second = await job()
    receipts = [receipt_of([event async for event in first]), second]
    assert [receipt.charged for receipt in receipts] == [None, None]
    assert (await job()).charged == Decimal("0.03")  # alone again
    await drawer.aclose()


async def test_a_stopped_job_no_longer_counts_as_running(server: StabilityServer) -> None:
    drawer = backend(server)
    async with aclosing(drawer.generate(model("core"), ASK)) as events:
        async for event in events:
            if isinstance(event, Picture):
                break
    events = [event async for event in drawer.generate(model("core"), ASK)]
    assert receipt_of(events).charged == Decimal("0.03")
    await drawer.aclose()


async def test_a_failed_job_leaves_the_balance_alone(server: StabilityServer) -> None:
    server.usual = failing(402, "payment_required", "You lack sufficient credits.")
    _, error = await attempt(server, "core")
    assert error is not None and error.charged is False
    assert server.credits == 100.0


@pytest.mark.parametrize(
    "credits", ["1E-999999999", "1E+999999999", "-1E+999999", "NaN", "7" * 3000]
)
async def test_a_balance_that_makes_no_sense_is_left_out(credits: str) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(200, content=f'{{"credits": {credits}}}'.encode())
        picture = base64.b64encode(pictures.plain()).decode()
        return httpx2.Response(200, json={"image": picture, "finish_reason": SUCCESS, "seed": 7})

    config = Config(value={"STABILITY_API_KEY": KEY}.get, home=Path("unused"))
    drawer = Stability(config, transport=httpx2.MockTransport(answer))
    assert len(await drawer.check()) < 100
    events = [event async for event in drawer.generate(model("core"), ASK)]
    await drawer.aclose()
    assert pictures_of(events) and receipt_of(events).charged is None


@pytest.mark.parametrize("failure", [httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ReadError])
async def test_a_balance_that_cannot_be_read_afterwards_costs_no_picture(
    failure: type[httpx2.TransportError],
) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.method)
        match asked:
            case ["GET"]:
                return httpx2.Response(200, json={"credits": 100})
            case ["GET", "POST"]:
                picture = base64.b64encode(pictures.plain()).decode()
                drawn = {"image": picture, "finish_reason": SUCCESS, "seed": 7}
                return httpx2.Response(200, json=drawn)
            case _:
                raise failure("the network is gone", request=request)

    config = Config(value={"STABILITY_API_KEY": KEY}.get, home=Path("unused"))
    drawer = Stability(config, transport=httpx2.MockTransport(answer))
    events = [event async for event in drawer.generate(model("core"), ASK)]
    await drawer.aclose()
    assert asked == ["GET", "POST", "GET"]
    (picture,) = pictures_of(events)
    assert picture.data == pictures.plain()
    assert receipt_of(events).charged is None, "the price list counts then"
