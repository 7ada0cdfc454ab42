"""What the Google backend needs before it sends anything: key, address, model, options."""

import datetime
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from backends.base import Config, Readiness, Request, State, Status
from backends.errors import BadInput, MissingKey, NotReady, RetiredModel, WrongKey
from backends.google.credentials import Credentials
from backends.google.request import Options
from backends.options import description
from tests.backends.google.case import KEY, MODEL, asked, backend, events
from tests.servers.google import GoogleServer


@pytest.fixture
def google() -> Iterator[GoogleServer]:
    with GoogleServer() as running:
        yield running


async def test_settings_are_those_of_the_config_alone(
    google: GoogleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "AIzaOfTheEnvironment")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v9")
    drawer = backend(f"{google.origin}/v1beta/", GOOGLE_API_KEY="", GEMINI_API_KEY=" AIzaOther ")
    await events(drawer)
    await events(backend(google.origin, GOOGLE_API_KEY=""))
    first, second = google.requests
    assert first.path.startswith("/v1beta/models/") and second.path.startswith("/v1/models/")
    assert first.headers["x-goog-api-key"] == "AIzaOther"
    assert second.headers["x-goog-api-key"] == "none"


async def test_the_key_of_google_goes_before_that_of_gemini(google: GoogleServer) -> None:
    await events(backend(google.origin, GEMINI_API_KEY="AIzaOther"))
    assert google.requests[0].headers["x-goog-api-key"] == KEY


@pytest.mark.parametrize(
    ("settings", "kind", "state"),
    [
        ({"GOOGLE_API_KEY": ""}, MissingKey, Readiness.NEEDS_KEY),
        ({"GOOGLE_API_KEY": "AIza\nb"}, WrongKey, Readiness.UNAVAILABLE),
        ({"GOOGLE_API_KEY": "schlüssel"}, WrongKey, Readiness.UNAVAILABLE),
        ({"GOOGLE_BASE_URL": "localhost:8080"}, NotReady, Readiness.UNAVAILABLE),
        ({"GOOGLE_BASE_URL": "http://"}, NotReady, Readiness.UNAVAILABLE),
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


def test_it_is_ready_with_a_key_or_a_server_of_ones_own() -> None:
    assert backend().ready(MODEL).state is Readiness.READY
    own = backend("http://localhost:8080", GOOGLE_API_KEY="")
    assert own.ready(MODEL).state is Readiness.READY


async def test_a_retired_model_is_not_asked(google: GoogleServer) -> None:
    date = datetime.date(2026, 8, 17)
    status = Status(state=State.RETIRED, date=date, successor="google/gemini-nano-banana-2.1")
    gone = replace(MODEL, label="Imagen 4", status=status)
    with pytest.raises(RetiredModel, match=r"Imagen 4 was shut down on 17 August 2026\. Use"):
        await events(backend(google.origin), gone)
    assert google.requests == []
    assert backend().ready(gone).state is Readiness.UNAVAILABLE


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (asked(image_size="8K"), "image_size must be one of 1K, 2K, 4K; not 8K"),
        (asked(thinking_level="hard"), "thinking_level must be one of auto, minimal"),
        (Request(prompt=" ", negative_prompt="people"), "prompt is empty"),
    ],
)
async def test_requests_that_make_no_sense(
    google: GoogleServer, request_: Request, sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        await events(backend(google.origin), request=request_)
    assert google.requests == []


def test_the_form_can_be_drawn_from_the_options() -> None:
    for field in fields(Options):
        described = description(field)
        assert field.default in described.choices
        assert described.label and described.help.endswith(".")


def test_the_package_is_imported_late() -> None:
    late = ("google.genai", "httpx2", "PIL")
    code = f"import sys, backends.google; print([m for m in {late} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("owners", ["", KEY])
def test_a_server_without_a_key_is_not_for_visitors(owners: str) -> None:
    """A key that a visitor makes up does not open it either."""
    values = {"GOOGLE_API_KEY": "AIzaMadeUpByAVisitor0001", "GOOGLE_BASE_URL": "http://127.0.0.1:9"}
    config = Config(
        value=values.get, home=Path("unused"), visitors=True, has_key=lambda _: bool(owners)
    )
    assert Credentials.from_config(config).official == (not owners)
