"""Several OpenAI-compatible servers at once, each under a name of its own."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Config, Event, Model, Picture, Readiness
from backends.errors import NotReady, ServiceFault, WrongKey
from backends.openai import OpenAI
from compare.catalogue.catalogue import load
from compare.visitor_keys import is_secret
from tests.backends.openai.case import ASK
from tests.servers import pictures
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script, failing

ONE = Script(picture=pictures.plain(32, 32))
CATALOGUE = load()


@pytest.fixture
def first() -> Iterator[OpenAIServer]:
    with OpenAIServer(ONE) as running:
        yield running


@pytest.fixture
def second() -> Iterator[OpenAIServer]:
    with OpenAIServer(ONE) as running:
        yield running


def backend(servers: str, **settings: str) -> OpenAI:
    values = {"OPENAI_SERVERS": servers, "OPENAI_API_KEY": "sk-openais-own", **settings}
    return OpenAI(Config(value=values.get, home=Path("unused")))


async def draw(drawer: OpenAI, model: Model) -> list[Event]:
    return [event async for event in drawer.generate(model, ASK)]


async def test_two_servers_at_once_and_one_failing(
    first: OpenAIServer, second: OpenAIServer
) -> None:
    second.usual = failing(500, None, "The card is on fire.")
    drawer = backend(f"here={first.base_url}, there={second.base_url}/", THERE_API_KEY="key-2")
    good, bad = await asyncio.gather(
        draw(drawer, CATALOGUE.find("openai@here/qwen-image")),
        draw(drawer, CATALOGUE.find("openai@there/org/flux.1")),
        return_exceptions=True,
    )
    await drawer.aclose()
    assert isinstance(good, list) and any(isinstance(event, Picture) for event in good)
    assert isinstance(bad, ServiceFault)
    assert str(bad).startswith("The server there (127.0.0.1:")
    assert "The card is on fire." in str(bad)
    assert [asked.json["model"] for asked in first.generations] == ["qwen-image"]
    assert [asked.json["model"] for asked in second.generations] == ["org/flux.1"]


async def test_each_server_gets_its_own_key_and_no_other(
    first: OpenAIServer, second: OpenAIServer
) -> None:
    servers = f"lm-studio={first.base_url},there={second.base_url}"
    drawer = backend(servers, LM_STUDIO_API_KEY="key-1")
    for server in ("lm-studio", "there"):
        await draw(drawer, CATALOGUE.find(f"openai@{server}/any"))
    await drawer.aclose()
    sent = [server.generations[0].headers["authorization"] for server in (first, second)]
    assert sent == ["Bearer key-1", "Bearer none"]


def test_each_server_has_its_own_lane() -> None:
    drawer = backend("a=http://127.0.0.1:1/v1, b=http://127.0.0.1:2/v1")
    ids = ("openai@a/x", "openai@a/y", "openai@b/x", "openai/gpt-image-2")
    lanes = [drawer.lane(CATALOGUE.find(id)).name for id in ids]
    assert lanes == ["openai a", "openai a", "openai b", "openai"]


@pytest.mark.parametrize(
    ("servers", "sentence"),
    [
        ("", r"OPENAI_SERVERS has no server called here\. It is not set\."),
        ("a=http://h/v1, b=http://i/v1", r"no server called here\. It has a, b\."),
        ("here", r"OPENAI_SERVERS must name each server with its address"),
        ("here=127.0.0.1:1234", r"must name each server with its address"),
        ("here=http://h/v1, here=http://i/v1", r"names the server here twice"),
    ],
)
async def test_what_is_set_wrongly_is_said_and_nothing_is_sent(servers: str, sentence: str) -> None:
    drawer, model = backend(servers), CATALOGUE.find("openai@here/x")
    with pytest.raises(NotReady, match=sentence) as caught:
        await draw(drawer, model)
    ready = drawer.ready(model)
    assert (ready.state, ready.sentence) == (Readiness.UNAVAILABLE, str(caught.value))


async def test_a_wrong_key_names_the_setting_of_that_server(first: OpenAIServer) -> None:
    first.key = "another"
    drawer = backend(f"here={first.base_url}", HERE_API_KEY="key-1")
    with pytest.raises(WrongKey, match=r"The server here .+ Check HERE_API_KEY\."):
        await drawer.check("here")
    first.key = "key-1"
    assert "The server here" in await drawer.check("here")
    await drawer.aclose()


def test_what_a_server_is_asked_for_can_be_seen() -> None:
    drawer = backend("here=http://127.0.0.1:1/v1 qwen-image")
    names = [(each.server, each.label) for each in drawer.services(drawer.config)]
    assert names == [("", "OpenAI"), ("here", "here")]
    broken = replace(drawer.config, value={"OPENAI_SERVERS": "nonsense"}.get)
    assert len(drawer.services(broken)) == 1


def test_the_keys_of_servers_are_keys() -> None:
    drawer = backend("my-own=http://127.0.0.1:1/v1")
    (key,) = drawer.services(drawer.config)[1].keys
    assert key.setting == "MY_OWN_API_KEY" and is_secret(key.setting)
