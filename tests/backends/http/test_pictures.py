"""Pictures that a service names by address: from where they are fetched, and what is sent along."""

import base64
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from backends.base import Config
from backends.errors import BackendError, ServiceFault
from backends.http import pictures as http_pictures
from backends.http.client import ClientPool
from backends.http.pictures import PictureFetcher
from backends.http.public import NotPublic, PublicClient, is_public
from tests.backends.harness import all_harnesses
from tests.servers import pictures
from tests.servers.exchange import Received, Reply
from tests.servers.hostile import Hostile, answering, endless, redirecting
from tests.servers.http import Server

KEY = {"Authorization": "Bearer sk-verysecret"}
PUBLIC = ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::")
LOCAL = (
    *("127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00::1", "fec0::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2001:0:808:808::1", "no address"),
)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", LOCAL)
def test_an_address_of_this_machine_or_network_is_not_public(address: str) -> None:
    assert not is_public(address)


class Files(Server):
    """Answers every request with a picture, or with what is set for its path."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Callable[[Reply], Awaitable[None]]] = {}
        self.key: str | None = None

    async def handle(self, received: Received, reply: Reply) -> None:
        if self.key is not None and received.headers.get("authorization") != self.key:
            await reply.send(b"", status=401)
            return
        answer = self.answers.get(received.path, answering(pictures.plain()))
        await answer(reply)


@contextmanager
def two_servers() -> Generator[tuple[Files, Files]]:
    with Files() as own, Files() as other:
        yield own, other


async def fetch(own: str, address: str, headers: dict[str, str] | None = None) -> bytes:
    clients = ClientPool(Config(value={}.get, home=Path("unused")))
    try:
        return await PictureFetcher(clients, f"{own}/v1", headers or KEY).fetch(address)
    finally:
        await clients.aclose()


FORMS = (
    *("http://127.0.0.1:{port}/x", "http://localhost:{port}/x", "http://localhost.:{port}/x"),
    *("http://2130706433:{port}/x", "http://0x7f.1:{port}/x", "http://0177.0.0.1:{port}/x"),
    *("http://0.0.0.0:{port}/x", "http://0:{port}/x", "http://127.1:{port}/x"),
    *("http://[::ffff:127.0.0.1]:{port}/x", "http://[::ffff:7f00:1]:{port}/x", "http://[::1]/x"),
    *("//127.0.0.1:{port}/x", "HTTP://127.0.0.1:{port}/x", "http://LOCALHOST:{port}"),
    *("http://user:word@127.0.0.1:{port}/x", "http://{own}@127.0.0.1:{port}/x"),
    *("http://169.254.169.254/latest/meta-data/", "http://metadata/", "ftp://127.0.0.1:{port}/x"),
    *(
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://[",
        "http://127.0.0.1:99999/",
    ),
    *("https://127.0.0.1:{port}/x", "http://127.0.0.1:{port}\\@8.8.8.8/", "\x00"),
)


@pytest.mark.parametrize("form", FORMS)
async def test_another_port_of_this_machine_is_not_asked(form: str) -> None:
    with two_servers() as (own, other):
        address = form.format(port=other.port, own=own.origin.removeprefix("http://"))
        with pytest.raises(ServiceFault) as caught:
            await fetch(own.origin, address)
        assert other.requests == [], caught.value
        own.answers["/v1/start"] = redirecting(address)
        with pytest.raises(ServiceFault):
            await fetch(own.origin, "start")
        assert other.requests == []


@pytest.mark.parametrize("address", ["{own}/x", "/x", "x", "http://LOCALHOST:{port}/x"])
async def test_the_services_own_origin_is_asked(address: str) -> None:
    with Files() as own:
        origin = own.origin.replace("127.0.0.1", "localhost") if "LOCAL" in address else own.origin
        address = address.format(own=own.origin, port=own.port)
        own.answers["/v1/old"] = redirecting(address)
        assert await fetch(origin, address) == pictures.plain()
        assert await fetch(origin, "old") == pictures.plain()
        assert all("authorization" not in received.headers for received in own.requests)


async def test_the_key_goes_to_the_own_origin_if_that_asks_for_it() -> None:
    with two_servers() as (own, other):
        own.key = other.key = KEY["Authorization"]
        assert await fetch(own.origin, "/x") == pictures.plain()
        assert [each.headers.get("authorization") for each in own.requests] == [None, own.key]
        with pytest.raises(ServiceFault):
            await fetch(own.origin, f"{other.origin}/x")
        assert other.requests == []


async def test_a_redirect_without_end() -> None:
    with Files() as own:
        own.answers["/v1/x"] = redirecting("x")
        with pytest.raises(ServiceFault, match="on and on"):
            await fetch(own.origin, "x")
        assert len(own.requests) == http_pictures.MAX_REDIRECTS + 1


async def test_pictures_of_one_answer_have_a_limit_together() -> None:
    settings = {"LINEUP_ANSWER_MB": f"{len(pictures.plain()) * 2 / 1e6}"}
    clients = ClientPool(Config(value=settings.get, home=Path("unused")))
    with Files() as own:
        fetcher = PictureFetcher(clients, own.origin)
        for _ in range(2):
            await fetcher.fetch("x")
        with pytest.raises(ServiceFault, match="with the others"):
            await fetcher.fetch("x")
        own.answers["/z"] = endless(b"x")
        with pytest.raises(ServiceFault, match="more than"):
            await fetcher.fetch("z")
    await clients.aclose()


@pytest.mark.parametrize("head", ["data:image/png;base64", "DATA:;base64", "data:;x=y;BASE64"])
async def test_a_data_url_holds_the_picture(head: str) -> None:
    encoded = base64.b64encode(pictures.plain()).decode()
    assert await fetch("https://service.example", f"{head},{encoded}") == pictures.plain()


def pool(answer: Callable[[httpx2.Request], httpx2.Response]) -> ClientPool:
    config = Config(value={}.get, home=Path("unused"))
    return ClientPool(config, httpx2.MockTransport(answer))


async def test_a_secure_service_names_secure_addresses() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.url.scheme == "https" and "authorization" not in request.headers
        return httpx2.Response(200, content=b"picture")

    clients = pool(answer)
    secure = PictureFetcher(clients, "https://service.example/v1", KEY)
    assert await secure.fetch("https://cdn.example/x") == b"picture"
    with pytest.raises(ServiceFault, match="https"):
        await secure.fetch("http://cdn.example/x")
    await clients.aclose()


async def test_a_name_is_resolved_once_for_check_and_connection() -> None:
    """A name server that answers differently each time reaches nothing on this machine."""
    answers = iter((["8.8.8.8"], ["127.0.0.1"], ["8.8.8.8"], ["8.8.8.8", "127.0.0.1"]))

    async def resolve(host: str, port: int) -> list[str]:
        assert host == "rebinding.example"
        return next(answers)

    with Files() as other:
        async with PublicClient(max_bytes=1000, resolve=resolve) as client:
            for _ in range(2):
                with pytest.raises(NotPublic):
                    await client.get(f"http://rebinding.example:{other.port}/x")
        assert other.requests == [] and next(answers, None) is None


async def test_a_public_name_behind_a_proxy_goes_to_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        if host.startswith("known"):
            return ["10.0.0.1"]
        raise OSError("this machine knows no names outside")

    with Files() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        async with PublicClient(max_bytes=10_000, resolve=resolve) as client:
            assert (await client.get("http://cdn.example/x")).content == pictures.plain()
            for name in ("known.example", "intranet", "printer.local", "db.internal."):
                with pytest.raises(NotPublic):
                    await client.get(f"http://{name}/")
        assert [received.path for received in proxy.requests] == ["http://cdn.example/x"]


async def test_a_public_name_without_an_address() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with PublicClient(max_bytes=1000, resolve=resolve) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("http://cdn.example/x")


NAMING = {
    "openai": b'{"data":[{"url":"%s/secret"}]}',
    "huggingface": b'{"images":[{"url":"%s/secret"}]}',
    "craiyon": b'{"images":["%s/secret"]}',
}


class Naming(Hostile):
    """Names a picture at another server, or at its own address, which leads to the other."""

    def __init__(self, behind: str, answer: bytes, other: str, *, redirects: bool) -> None:
        super().__init__(behind, lambda _: False)
        self._answer, self._other, self._redirects = answer, other, redirects

    async def handle(self, received: Received, reply: Reply) -> None:
        if received.method == "POST":
            named = self.origin if self._redirects else self._other
            await reply.send(self._answer % named.encode())
        elif received.path == "/secret":
            await redirecting(f"{self._other}/secret")(reply)
        else:
            await super().handle(received, reply)


@pytest.mark.parametrize("redirects", [False, True])
@pytest.mark.parametrize("name", NAMING)
async def test_a_backend_asks_no_other_server(name: str, redirects: bool, home: Path) -> None:
    with all_harnesses()[name]() as harness, Files() as other:
        with Naming(harness.origin, NAMING[name], other.origin, redirects=redirects) as hostile:
            backend = harness.create(home, origin=hostile.origin)
            with pytest.raises(ServiceFault):
                await harness.draw(backend)
        assert other.requests == []
        assert ("/secret" in [each.path for each in hostile.requests]) is redirects


async def test_discord_names_no_other_server(home: Path) -> None:
    with all_harnesses()["midjourney"]() as harness, Hostile(harness.origin, bool) as hostile:
        backend = harness.create(home, origin=hostile.origin)  # the attachments are at the other
        with pytest.raises(ServiceFault, match="neither on the public internet nor at"):
            await harness.draw(backend)
        assert harness.server.fetched == []


@pytest.mark.parametrize("path", ["/view", "/ws", "/queue", "/prompt"])
async def test_a_comfyui_server_leads_to_no_other(path: str, home: Path) -> None:
    with all_harnesses()["comfyui"]() as harness, Files() as other:
        there = other.origin.replace("http", "ws") if path == "/ws" else other.origin
        attack = redirecting(f"{there}{path}")
        with Hostile(harness.origin, lambda each: each.path.startswith(path), attack) as hostile:
            backend = harness.create(home, origin=hostile.origin)
            if path == "/ws":  # progress is polled then
                await harness.draw(backend)
            else:
                with pytest.raises(BackendError):
                    await harness.draw(backend)
            assert any(each.path.startswith(path) for each in hostile.requests)
        assert other.requests == []
