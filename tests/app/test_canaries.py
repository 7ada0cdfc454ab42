"""Keys planted in every setting are found nowhere, whatever the services write back."""

from collections.abc import Generator

import pytest

from tests.app.visitor import Visitor
from tests.app_process import App, serve
from tests.canaries import PLANTED, files_with_canaries, found
from tests.servers.echo import EchoServer, echoing

MODELS = (
    "openai/gpt-image-2.6-flare",
    "openai@mine/drawer",
    "google/gemini-nano-banana-2.1",
    "huggingface/flux.1-schnell",
    "stability/core",
    "a1111/any",
    "comfyui/text-to-image",
    "craiyon/v3",
    "midjourney/v8.1",
)
SENT = frozenset(PLANTED) - {"COMFYUI_PASSWORD"}
"""The keys that a service is sent; of password and token, ComfyUI is sent one."""
TYPED = ("CRAIYON_TOKEN", "GOOGLE_API_KEY", "HF_TOKEN", "MINE_API_KEY")
"""The keys that a visitor types: the owner's are not lent where the price is unknown."""
SERVERS = frozenset({"A1111_PASSWORD", "COMFYUI_TOKEN"})
"""The keys of servers that visitors can't use."""


@pytest.fixture(scope="module")
def service() -> Generator[EchoServer, None, None]:
    """Every service: a server that answers with the keys it is given."""
    with echoing() as running:
        yield running


@pytest.fixture(scope="module", params=["loopback", "public"])
def planted(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    service: EchoServer,
) -> Generator[App, None, None]:
    """The app with a canary in every setting, on this machine and at a public address."""
    here = f"http://127.0.0.1:{service.server_address[1]}"
    settings = {
        **PLANTED,
        "A1111_URL": here,
        "A1111_USER": "user",
        "COMFYUI_URL": here,
        "COMFYUI_USER": "user",
        "CRAIYON_BASE_URL": f"{here}/v3",
        "CRAIYON_ENABLED": "1",
        "CRAIYON_VERSION": "1",
        "DISCORD_API_BASE": f"{here}/api/v10",
        "GOOGLE_BASE_URL": here,
        "HF_ENDPOINT": here,
        "HF_INFERENCE_BASE": here,
        "MIDJOURNEY_CHANNEL": "33",
        "OPENAI_BASE_URL": f"{here}/v1",
        "OPENAI_SERVERS": f"mine={here}/v1 drawer",
        "STABILITY_BASE_URL": here,
    }
    if request.param == "public":
        lent = {"LINEUP_SHARE_KEYS": "1", "LINEUP_DAILY_BUDGET": "100"}
        settings |= {"LINEUP_HOSTS": "lineup.example", **lent}
    with serve(tmp_path_factory.mktemp(request.param), **settings) as app:
        yield app


@pytest.mark.parametrize("status", [401, 500, 200])
def test_what_comes_back_holds_no_key(planted: App, service: EchoServer, status: int) -> None:
    service.status = status
    service.given.clear()
    visitor = Visitor(planted.address)
    answers = [visitor.page.content, visitor.http.get("/config").content]
    sent = SENT
    if planted.home.name.startswith("public"):
        sent -= SERVERS
        for name in TYPED:
            visitor.type_key(name, PLANTED[name])
    if status == 500:  # discord.py would ask for half a minute
        sent -= {"DISCORD_BOT_TOKEN"}
    for model in MODELS if status != 500 else MODELS[:-1]:
        started = visitor.call("compare", Prompt=f"a fox {status}", html=[model])
        answers.append(started.content)
        _, _, board = started.text.partition("data-run=")
        if run := board[2:].partition("\\")[0]:
            answers.append(visitor.http.get(f"/lineup/runs/{run}/events").content)
            visitor.http.params = {"run": run}
            answers.append(visitor.post("restore", []).content)
            visitor.http.params = {}
    tabs = ("open", "refresh") if status == 500 else ("open", "refresh", "partial")
    for name, handler in visitor.handlers.items():
        if name.startswith(tabs) and len(handler["inputs"]) <= 1:
            answers.append(visitor.post(name, [None] * len(handler["inputs"])).content)
    assert {name for name in sent if PLANTED[name] not in service.given} == set()
    assert not any(map(found, answers))
    assert files_with_canaries(planted.home, planted.log, planted.temp) == []
