"""What a visitor learns of the owner's servers and accounts, and which servers they can use."""

from collections.abc import Generator
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.app.visitor import Visitor
from tests.app_process import App, serve
from tests.servers.openai import OpenAIServer

OWNERS = "http://studio.internal.example:8188"


@pytest.fixture(scope="module")
def keyless() -> Generator[OpenAIServer, None, None]:
    """A server of the owner that asks for no key."""
    with OpenAIServer() as running:
        yield running


@pytest.fixture(scope="module")
def lending(
    tmp_path_factory: pytest.TempPathFactory, keyless: OpenAIServer
) -> Generator[App, None, None]:
    """The app of an owner who lends keys and has servers."""
    settings = {
        "LINEUP_HOSTS": "lineup.example",
        "LINEUP_SHARE_KEYS": "1",
        "LINEUP_DAILY_BUDGET": "5",
        "OPENAI_API_KEY": "sk-lent-by-the-owner-0001",
        "STABILITY_API_KEY": "sk-lent-by-the-owner-0002",
        "OPENAI_SERVERS": f"mine={keyless.base_url} drawer, other={OWNERS}/v1 painter",
        "OTHER_API_KEY": "sk-lent-by-the-owner-0003",
        "A1111_URL": OWNERS,
        "COMFYUI_URL": OWNERS,
    }
    with serve(tmp_path_factory.mktemp("owner"), **settings) as app:
        yield app


def pages(visitor: Visitor) -> dict[str, str]:
    """Return all that the tabs say."""
    found = {name: visitor.post(name, []).text for name in ("open_1", "open_2")}
    found["open_3"] = visitor.post("open_3", [None]).text
    found["refresh"] = visitor.post("refresh", [None]).text
    for name in visitor.handlers:
        if name.startswith("partial") and len(visitor.handlers[name]["inputs"]) == 1:
            found[name] = visitor.post(name, [None]).text  # Check on the Keys tab
    found["config"] = visitor.http.get("/config").text
    found["page"] = visitor.page.text
    return found


def test_no_address_and_no_account_is_shown(lending: App, keyless: OpenAIServer) -> None:
    port = urlsplit(keyless.base_url).port
    for name, text in pages(Visitor(lending.address)).items():
        assert "studio.internal" not in text, name
        assert f"127.0.0.1:{port}" not in text and "credits left" not in text, name
        assert "lent-by-the-owner" not in text, name
    assert not keyless.requests


@pytest.mark.parametrize("key", [None, "sk-made-up-by-a-visitor"])
@pytest.mark.parametrize("model", ["openai@mine/drawer", "a1111/any", "comfyui/any"])
def test_a_server_without_a_key_is_not_given(
    lending: App, keyless: OpenAIServer, model: str, key: str | None
) -> None:
    visitor = Visitor(lending.address)
    if key:
        visitor.type_key("OPENAI_API_KEY", key)
    text = visitor.call("compare", Prompt="a fox", html=[model]).text
    if "data-run" in text:
        _, _, board = text.partition("data-run=")
        run = board[2:].partition("\\")[0]
        text = httpx2.get(f"{lending.address}/lineup/runs/{run}/events").text
        assert "lu-failed" in text
    assert "studio.internal" not in text and "lineup/pictures/" not in text
    assert not keyless.requests


def test_a_server_with_a_key_fails_without_its_address(lending: App) -> None:
    visitor = Visitor(lending.address)
    visitor.type_key("OTHER_API_KEY", "sk-typed-by-a-visitor-0004")
    run = visitor.compare("a fox", html=["openai@other/painter"])
    text = httpx2.get(f"{lending.address}/lineup/runs/{run}/events").text
    assert "lu-failed" in text and "studio.internal" not in text
