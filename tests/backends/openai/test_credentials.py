"""What the OpenAI backend needs before it sends anything: key, address, model, options."""

import base64
import datetime
import subprocess
import sys
from dataclasses import fields, replace

import httpx2
import pytest

from backends.base import (
    Readiness,
    Request,
    State,
    Status,
)
from backends.errors import BadInput, MissingKey, NotReady, RetiredModel, WrongKey
from backends.openai.request import Options
from backends.options import description
from tests.backends.openai.case import ASK, MODEL, backend, events, kinds, mocked, pictures_of
from tests.servers import pictures
from tests.servers.openai import OpenAIServer

ANSWER = {"data": [{"b64_json": base64.b64encode(pictures.plain()).decode()}]}


async def test_settings_are_those_of_the_config_alone(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-of-an-administrator")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-of-the-headers")
    drawer = backend(server.base_url, OPENAI_API_KEY="")
    await events(drawer)
    sent = server.requests[-1].headers
    assert sent["authorization"] == "Bearer none"
    assert not [name for name in sent if name.startswith("openai-")]
    await events(backend(server.base_url, OPENAI_ORG_ID="org-1", OPENAI_PROJECT_ID="proj-1"))
    sent = server.requests[-1].headers
    assert (sent["openai-organization"], sent["openai-project"]) == ("org-1", "proj-1")


async def test_a_changed_setting_counts_at_once(server: OpenAIServer) -> None:
    values = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    drawer = backend()
    drawer.config = replace(drawer.config, value=values.get)
    with pytest.raises(Exception, match="Nothing answers"):
        _ = [event async for event in drawer.generate(MODEL, ASK)]
    values.update(OPENAI_BASE_URL=f"{server.base_url}/", OPENAI_API_KEY=" sk-new ")
    _ = [event async for event in drawer.generate(MODEL, ASK)]
    await drawer.aclose()
    assert server.requests[-1].headers["authorization"] == "Bearer sk-new"


async def test_openais_own_address_is_the_default() -> None:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        return httpx2.Response(200, json=ANSWER)

    assert kinds(await events(mocked(answer))) == ["Sending", "Picture", "Receipt"]
    assert seen == ["https://api.openai.com/v1/images/generations"]


GONE = replace(
    MODEL,
    label="DALL-E 2",
    source="dall-e-2",
    status=Status(
        state=State.RETIRED, date=datetime.date(2026, 5, 12), successor="gpt-image-2.6-flare"
    ),
)


async def test_a_retired_model_is_not_asked(server: OpenAIServer) -> None:
    sentence = r"DALL-E 2 was shut down on 12 May 2026\. Use gpt-image-2\.6-flare instead\."
    with pytest.raises(RetiredModel, match=sentence):
        await events(backend(server.base_url), GONE)
    assert server.requests == []
    ready = backend().ready(GONE)
    assert ready.state is Readiness.UNAVAILABLE
    assert "12 May 2026" in ready.sentence


async def test_a_retiring_model_still_draws(server: OpenAIServer) -> None:
    leaving = replace(MODEL, status=Status(state=State.RETIRING, date=datetime.date(2026, 12, 1)))
    assert backend(server.base_url).ready(leaving).state is Readiness.READY
    assert len(pictures_of(await events(backend(server.base_url), leaving))) == 1


@pytest.mark.parametrize(
    ("settings", "kind", "state"),
    [
        ({"OPENAI_API_KEY": ""}, MissingKey, Readiness.NEEDS_KEY),
        ({"OPENAI_API_KEY": "sk-a\nb"}, WrongKey, Readiness.UNAVAILABLE),
        ({"OPENAI_API_KEY": "sk-schlüssel"}, WrongKey, Readiness.UNAVAILABLE),
        ({"OPENAI_BASE_URL": "localhost:8080"}, NotReady, Readiness.UNAVAILABLE),
        ({"OPENAI_BASE_URL": "http://"}, NotReady, Readiness.UNAVAILABLE),
    ],
)
async def test_what_must_be_set_up_first(
    settings: dict[str, str], kind: type[Exception], state: Readiness
) -> None:
    drawer = backend(**settings)
    ready = drawer.ready(MODEL)
    assert ready.state is state
    with pytest.raises(kind) as caught:
        await events(drawer)
    assert str(caught.value) == ready.sentence
    assert "sk-" not in ready.sentence


def test_a_server_of_ones_own_needs_no_key() -> None:
    drawer = backend("http://localhost:8080/v1", OPENAI_API_KEY="")
    assert drawer.ready(MODEL).state is Readiness.READY


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"quality": "best"}, "quality must be one of auto, low, medium, high, xhigh, max"),
        ({"background": "transparent", "output_format": "jpeg"}, "cannot be transparent"),
    ],
)
async def test_options_that_make_no_sense(
    server: OpenAIServer, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        await events(backend(server.base_url), request=replace(ASK, options={"openai": options}))
    assert server.requests == []


async def test_an_empty_prompt_is_empty_with_a_negative_one_too(server: OpenAIServer) -> None:
    with pytest.raises(BadInput, match="prompt is empty"):
        await events(
            backend(server.base_url), request=Request(prompt=" ", negative_prompt="people")
        )
    assert server.requests == []


def test_the_form_can_be_drawn_from_the_options() -> None:
    for field in fields(Options):
        described = description(field)
        assert field.default in described.choices
        assert described.label
        assert described.help.endswith(".")


def test_the_package_is_imported_late() -> None:
    late = ("openai", "httpx2", "PIL")
    code = f"import sys, backends.openai; print([m for m in {late} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
