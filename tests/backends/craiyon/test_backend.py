"""The Craiyon backend: switched off, turned away, and, where it is let in, nine pictures."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from backends.base import (
    Applied,
    Basis,
    Config,
    Event,
    Picture,
    Progress,
    Readiness,
    Receipt,
    Request,
)
from backends.craiyon import Craiyon
from backends.errors import BackendError, BadInput, Forbidden, NotReady, ServiceFault, Unanswered
from compare import pricing
from compare.catalogue import catalogue
from tests.backends.craiyon.harness import TOKEN
from tests.servers import pictures
from tests.servers.craiyon import VERSION, WALL, CraiyonServer, Script

MODEL = catalogue.load().find("craiyon/v3")
ASK = Request(prompt="a lighthouse", negative_prompt="people", count=9)
PACKAGE = importlib.util.find_spec("craiyon")


@pytest.fixture(name="server")
def craiyon_server() -> Iterator[CraiyonServer]:
    with CraiyonServer() as running:
        yield running


def backend(server: CraiyonServer | None = None, **settings: str) -> Craiyon:
    values = {"CRAIYON_ENABLED": "1", **settings}
    if server is not None:
        here = {"CRAIYON_BASE_URL": f"{server.origin}/v3", "CRAIYON_VERSION": VERSION}
        values = {**here, **values}
    return Craiyon(Config(value=values.get, home=Path("unused")))


async def attempt(
    server: CraiyonServer, request: Request = ASK, **settings: str
) -> tuple[list[Event], BackendError | None]:
    drawer, events = backend(server, **settings), list[Event]()
    try:
        async for event in drawer.generate(MODEL, request):
            events.append(event)
    except BackendError as error:
        return events, error
    finally:
        await drawer.aclose()
    return events, None


async def draw(server: CraiyonServer, request: Request = ASK, **settings: str) -> Receipt:
    events, error = await attempt(server, request, **settings)
    assert error is None, str(error)
    assert isinstance(events[-1], Receipt)
    return events[-1]


def test_it_is_off_and_says_why() -> None:
    for settings in ({}, {"CRAIYON_ENABLED": "0"}):
        drawer = Craiyon(Config(value=settings.get, home=Path("unused")))
        ready = drawer.ready(MODEL)
        assert ready.state is Readiness.UNAVAILABLE
        assert "not browsers" in ready.sentence and "CRAIYON_ENABLED=1" in ready.sentence


async def test_a_job_while_it_is_off_sends_nothing(server: CraiyonServer) -> None:
    events, error = await attempt(server, CRAIYON_ENABLED="")
    assert isinstance(error, NotReady) and not events and not server.requests


@pytest.mark.skipif(PACKAGE is not None, reason="craiyon.py is installed")
async def test_without_the_package_the_card_says_how_to_install_it(server: CraiyonServer) -> None:
    ready = backend().ready(MODEL)
    assert ready.state is Readiness.NEEDS_PACKAGE
    if sys.version_info >= (3, 12):
        assert ready.sentence.endswith("pip install craiyon.py.")
    else:
        assert "Python 3.12" in ready.sentence
        assert "pip install --no-deps craiyon.py aiopath" in ready.sentence
    events, error = await attempt(server, CRAIYON_VERSION="")
    assert isinstance(error, NotReady) and str(error) == ready.sentence and not events


@pytest.mark.skipif(PACKAGE is None, reason="craiyon.py is not installed")
async def test_the_package_says_which_version_is_current(server: CraiyonServer) -> None:
    assert backend().ready(MODEL).state is Readiness.READY
    await draw(server, CRAIYON_VERSION="")
    assert len(server.drawings[0].json["version"]) == 16
    assert server.drawings[0].json["version"] != VERSION


def test_with_address_and_version_the_package_is_not_needed(server: CraiyonServer) -> None:
    assert backend(server).ready(MODEL).state is Readiness.READY


@pytest.mark.parametrize("setting", ["CRAIYON_BASE_URL", "CRAIYON_TOKEN"])
def test_a_setting_that_makes_no_sense_is_named(server: CraiyonServer, setting: str) -> None:
    ready = backend(server, **{setting: "ü"}).ready(MODEL)
    assert ready.state is Readiness.UNAVAILABLE and setting in ready.sentence


async def test_the_request_in_the_documented_form(server: CraiyonServer) -> None:
    asked = replace(ASK, options={"craiyon": {"kind": "photo"}})
    await draw(server, asked, CRAIYON_TOKEN=TOKEN)
    (received,) = server.drawings
    assert received.json == {
        "prompt": "a lighthouse",
        "negative_prompt": "people",
        "model": "photo",
        "token": TOKEN,
        "version": VERSION,
    }
    assert "mozilla" not in received.headers["user-agent"].lower()
    assert "origin" not in received.headers
    await draw(server)
    assert server.drawings[1].json["token"] is None
    assert server.drawings[1].json["model"] == "none"


async def test_the_token_goes_to_nobody_but_the_service(server: CraiyonServer) -> None:
    await draw(server, CRAIYON_TOKEN=TOKEN)
    fetches = [received for received in server.requests if received.method == "GET"]
    assert len(fetches) == 9
    assert all(TOKEN not in f"{received.headers}{received.path}" for received in fetches)


async def test_nine_pictures_come_whatever_was_asked(server: CraiyonServer) -> None:
    events, error = await attempt(server, replace(ASK, count=1))
    assert error is None
    got = [event for event in events if isinstance(event, Picture)]
    assert [picture.data for picture in got] == [pictures.plain()] * 9
    (news,) = (event for event in events if isinstance(event, Progress))
    assert "minute" in news.message
    assert isinstance(events[-1], Receipt)
    note = events[-1].honoured["count"].note
    assert note == "9 instead of 1 pictures: Craiyon always draws 9"


async def test_what_cannot_be_asked_for_is_said(server: CraiyonServer) -> None:
    receipt = await draw(server, replace(ASK, seed=7, guidance_scale=3.0, width=512, height=512))
    assert receipt.honoured["seed"].used is None
    assert receipt.honoured["guidance_scale"].used is None
    assert receipt.honoured["size"].note == "64x64 instead of 512x512"
    assert receipt.honoured["count"].note == ""
    receipt = await draw(server, replace(ASK, width=64, height=64))
    assert receipt.honoured["size"] == Applied("64x64", "64x64")


async def test_the_watermark_is_named_unless_a_subscription_pays(server: CraiyonServer) -> None:
    assert "watermark" in (await draw(server)).honoured["watermark"].note
    assert "watermark" not in (await draw(server, CRAIYON_TOKEN=TOKEN)).honoured


def work(receipt: Receipt) -> pricing.BillableWork:
    return pricing.BillableWork(model=MODEL, request=ASK, receipt=receipt, seconds=60.0)


async def test_without_a_token_nobody_pays_and_with_one_the_price_is_unknown(
    server: CraiyonServer,
) -> None:
    free, paid = await draw(server), await draw(server, CRAIYON_TOKEN=TOKEN)
    assert MODEL.price.basis is Basis.SUBSCRIPTION
    assert pricing.settle(work(free), 9).amount == Decimal(0)
    assert pricing.settle(work(paid), 9).amount is None


@pytest.mark.parametrize("status", [200, 401, 403])
async def test_a_wall_is_named_and_not_climbed(server: CraiyonServer, status: int) -> None:
    server.usual = Script(status=status, raw=WALL, media_type="text/html")
    _, error = await attempt(server)
    assert isinstance(error, Forbidden)
    assert "browsers only" in str(error)
    assert len(server.requests) == 1


async def test_a_picture_that_is_gone_leaves_the_others(server: CraiyonServer) -> None:
    server.usual = Script(gone=frozenset({2, 5}))
    receipt = await draw(server)
    note = receipt.honoured["count"].note
    assert note.startswith("7 instead of 9 pictures: The picture was made, but")
    server.usual = Script(gone=frozenset(range(1, 10)))
    _, error = await attempt(server)
    assert isinstance(error, ServiceFault)


async def test_the_answer_is_waited_for_only_so_long(server: CraiyonServer) -> None:
    server.usual = Script(hang=True)
    _, error = await attempt(server, LINEUP_ANSWER_SECONDS="0.3")
    assert isinstance(error, Unanswered)


async def test_an_option_that_there_is_not_is_refused_before_it_is_sent(
    server: CraiyonServer,
) -> None:
    _, error = await attempt(server, replace(ASK, options={"craiyon": {"kind": "opera"}}))
    assert isinstance(error, BadInput) and "photo" in str(error)
    assert not server.requests


@pytest.mark.parametrize(
    "place", ["{other}/2026/picture/1.webp", "//{host}/1.webp", "{own}0/1.webp", "http://[1.webp"]
)
async def test_a_picture_lies_nowhere_but_at_craiyons_own_address(
    server: CraiyonServer, place: str
) -> None:
    with CraiyonServer() as other:
        host = other.origin.removeprefix("http://")
        path = place.format(other=other.origin, host=host, own=server.origin)
        server.usual = Script(raw=json.dumps({"images": [path]}).encode())
        events, error = await attempt(server)
        assert isinstance(error, ServiceFault) and "not its own" in str(error)
        assert not any(isinstance(event, Picture) for event in events)
        assert not other.requests


async def test_a_whole_address_of_its_own_is_fetched(server: CraiyonServer) -> None:
    path = f"{server.origin}/2026/picture/1.webp"
    server.usual = Script(raw=json.dumps({"images": [path]}).encode())
    events, error = await attempt(server)
    assert error is None
    assert [event.data for event in events if isinstance(event, Picture)] == [pictures.plain()]
