"""Keys planted in every setting are found nowhere, whatever the services write back."""

from collections.abc import Generator

import pytest

from tests.app.conftest import App, serve
from tests.app.visitor import Visitor
from tests.canaries import PLANTED, files_with_canaries, found
from tests.servers.echo import EchoServer, echoing

MODELS = (
    "openai/gpt-image-2.6-flare",
    "openai@mine/drawer",
    "google/gemini-3.1-flash-image",
    "huggingface/any",
    "stability/core",
    "a1111/any",
    "comfyui/text-to-image",
    "craiyon/any",
)


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
        "CRAIYON_ENABLED": "1",
        "GOOGLE_BASE_URL": here,
        "HF_ENDPOINT": here,
        "HF_INFERENCE_BASE": here,
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
    service.status, before = status, service.asked
    visitor = Visitor(planted.address)
    answers = [visitor.page.content, visitor.http.get("/config").content]
    for model in MODELS:
        started = visitor.call("compare", Prompt=f"a fox {status}", html=[model])
        answers.append(started.content)
        _, _, board = started.text.partition("data-run=")
        if run := board[2:].partition("\\")[0]:
            answers.append(visitor.http.get(f"/lineup/runs/{run}/events").content)
            visitor.http.params = {"run": run}
            answers.append(visitor.post("restore", []).content)
            visitor.http.params = {}
    for name, handler in visitor.handlers.items():
        if name.startswith(("open", "refresh", "partial")) and len(handler["inputs"]) <= 1:
            answers.append(visitor.post(name, [None] * len(handler["inputs"])).content)
    assert service.asked > before, "the keys were sent"
    assert not any(map(found, answers))
    assert files_with_canaries(planted.home, planted.log) == []
