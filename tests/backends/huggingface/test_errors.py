"""The Hugging Face backend: jobs that are waited for, and what goes wrong on the way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.base import (
    Config,
    Picture,
    Readiness,
    State,
    Status,
)
from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    MissingKey,
    NoCredit,
    NotReady,
    RateLimited,
    Refused,
    RetiredModel,
    ServiceFault,
    TimedOut,
    Unanswered,
    WrongKey,
)
from backends.huggingface.credentials import Credentials
from tests.backends.huggingface.case import ASK, attempt, backend, by, draw
from tests.backends.huggingface.harness import MODEL, TOKEN
from tests.backends.openai.case import kinds, pictures_of, receipt_of
from tests.servers import pictures
from tests.servers.huggingface import HuggingFaceServer, Script


@pytest.mark.parametrize("provider", ["replicate", "wavespeed", "zai-org"])
async def test_a_job_is_asked_for_until_it_is_done(server: HuggingFaceServer, provider: str):
    server.usual = Script(looks=(True, 503), picture=pictures.noise(32, 32))
    got = await draw(server, by(provider))
    assert pictures_of(got)[0].data == pictures.noise(32, 32)
    assert len(server.generations) == 1
    looks = [each for each in server.requests if each.path.endswith("/job/0")]
    assert len(looks) == 3 and all(look.path.startswith(f"/{provider}/") for look in looks)
    assert looks[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("provider", ["replicate", "wavespeed", "zai-org"])
async def test_a_job_that_is_given_up(server: HuggingFaceServer, provider: str):
    server.usual = Script(given_up="CUDA out of memory")
    events, error = await attempt(server, by(provider))
    assert kinds(events) == ["Sending"]
    assert isinstance(error, ServiceFault) and error.charged is None


@pytest.mark.parametrize("provider", ["replicate", "wavespeed"])
async def test_a_job_that_ends_in_moderation(server: HuggingFaceServer, provider: str):
    server.usual = Script(given_up="NSFW content detected. Try another prompt.")
    _, error = await attempt(server, by(provider))
    assert isinstance(error, Refused) and error.charged is None


async def test_a_job_that_is_lost(server: HuggingFaceServer):
    server.usual = Script(looks=(404,))
    _, error = await attempt(server, by("wavespeed"))
    assert isinstance(error, ServiceFault) and "may have been billed" in str(error)


async def test_a_job_that_does_not_end(server: HuggingFaceServer):
    server.usual = Script(looks=(True,) * 100)
    _, error = await attempt(server, by("wavespeed"), LINEUP_ANSWER_SECONDS="1")
    assert isinstance(error, Unanswered)
    assert len(server.generations) == 1


# ── the Hub fails ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("hub", "kind"),
    [
        (Script(status=401, error={"error": "Invalid username or password."}), WrongKey),
        (Script(status=401, headers={"X-Error-Code": "RepoNotFound"}), RetiredModel),
        (
            Script(
                status=401,
                headers={
                    "X-Error-Code": "Unauthorized",
                    "X-Error-Message": "Invalid credentials in Authorization header",
                },
            ),
            WrongKey,
        ),
        (Script(status=404), RetiredModel),
        (Script(status=500), ServiceFault),
        (Script(raw=b"<html>"), ServiceFault),
        (Script(raw=b"[]"), ServiceFault),
        (Script(status=504), TimedOut),
        (Script(cut=10), TimedOut),
        (Script(hang=True), TimedOut),
    ],
)
async def test_where_the_hub_fails_nothing_is_sent(
    server: HuggingFaceServer, hub: Script, kind: type[BackendError]
):
    server.hub = hub
    events, error = await attempt(server, LINEUP_ANSWER_SECONDS="0.5")
    assert type(error) is kind
    assert error is not None and error.charged is False
    assert events == [] and server.generations == []


async def test_the_hubs_own_way_to_say_how_long_to_wait(server: HuggingFaceServer):
    server.hub = Script(status=429, headers={"RateLimit": '"api";r=0;t=55'})
    _, error = await attempt(server)
    assert isinstance(error, RateLimited) and error.retry_after == 55
    assert "55 s" in str(error)


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────────


async def test_a_picture_that_cannot_be_fetched_is_said_to_be_made(server: HuggingFaceServer):
    server.usual = Script(picture_status=404, picture=b"Not Found")
    _, error = await attempt(server)
    assert isinstance(error, ServiceFault) and error.charged is None
    assert str(error).startswith("The picture was made, but could not be fetched")
    assert len(server.generations) == 1


async def test_the_key_does_not_go_to_where_the_picture_lies(server: HuggingFaceServer):
    await draw(server)
    (fetched,) = (each for each in server.requests if each.path.startswith("/picture/"))
    assert "authorization" not in fetched.headers


async def test_a_prompt_repeated_by_the_service_is_no_moderation(server: HuggingFaceServer):
    said = {"loc": ["body", "seed"], "msg": "Input should be a valid integer", "type": "int_type"}
    server.usual = Script(status=422, error={"detail": [{**said, "input": "nsfw"}]})
    _, error = await attempt(server)
    assert type(error) is BadInput
    assert str(error) == "Fal does not take this request: Input should be a valid integer."


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"error": {"message": "Bad size", "type": "invalid_request_error"}}, BadInput),
        (429, {"error": "Insufficient credit"}, BackendError),
        (307, {}, ServiceFault),
        (504, {}, Unanswered),
    ],
)
async def test_other_answers(
    server: HuggingFaceServer, status: int, error: Any, kind: type[BackendError]
):
    server.usual = Script(status=status, error=error)
    _, caught = await attempt(server, by("together"))
    assert isinstance(caught, kind)
    assert not isinstance(caught, RateLimited)
    assert len(server.generations) == 1


@pytest.mark.parametrize(
    ("provider", "status", "error"),
    [
        ("zai-org", 429, {"error": {"code": "1113", "message": "Insufficient balance."}}),
        ("zai-org", 429, {"error": {"code": "1113", "message": "Please add funds."}}),
        ("zai-org", 429, {"error": {"code": "1300", "message": "Your account needs a recharge"}}),
        ("fal-ai", 403, {"detail": "User is locked. Reason: Exhausted balance."}),
        ("together", 429, {"error": {"message": "Credit limit exceeded"}}),
        ("replicate", 402, {"title": "Insufficient credit", "status": 402}),
    ],
)
async def test_an_empty_account_is_not_a_busy_service(
    server: HuggingFaceServer, provider: str, status: int, error: Any
):
    server.usual = Script(status=status, error=error)
    _, caught = await attempt(server, by(provider))
    assert isinstance(caught, NoCredit) and caught.charged is False


@pytest.mark.parametrize(
    ("provider", "status", "error", "kind"),
    [
        ("zai-org", 429, {"error": {"code": "1302", "message": "Too many requests"}}, RateLimited),
        ("fal-ai", 429, {"detail": "The load balancer is busy"}, RateLimited),
        ("together", 403, {"error": {"message": "This key is read-only"}}, Forbidden),
    ],
)
async def test_a_busy_service_is_not_an_empty_account(
    server: HuggingFaceServer,
    provider: str,
    status: int,
    error: Any,
    kind: type[BackendError],
):
    server.usual = Script(status=status, error=error)
    _, caught = await attempt(server, by(provider))
    assert type(caught) is kind


@pytest.mark.parametrize("kind", ["request_timeout", "startup_timeout"])
async def test_a_request_that_fal_calls_ended_is_not_said_to_go_on(
    server: HuggingFaceServer, kind: str
):
    server.usual = Script(status=504, error={"detail": "Timed out", "error_type": kind})
    _, error = await attempt(server)
    assert type(error) is ServiceFault and "Timed out" in str(error)


async def test_an_error_in_wavespeeds_envelope(server: HuggingFaceServer):
    body = b'{"code": 400, "message": "The lamp went out", "data": {"outputs": []}}'
    server.usual = Script(raw=body)
    _, error = await attempt(server, by("wavespeed"))
    assert type(error) is ServiceFault and "The lamp went out" in str(error)


async def test_a_page_where_a_picture_should_be(server: HuggingFaceServer):
    server.usual = Script(raw=b"<html><body>Sign in</body></html>", media_type="text/html")
    for provider in ("hf-inference", "nscale"):
        _, error = await attempt(server, by(provider))
        assert isinstance(error, ServiceFault) and "<" not in str(error)


# ── the account ───────────────────────────────────────────────────────────────────────────────────


async def test_without_a_token_nothing_is_asked(server: HuggingFaceServer):
    drawer = backend(server, HF_TOKEN=" ")
    assert drawer.ready(MODEL).state is Readiness.NEEDS_KEY
    _, error = await attempt(server, HF_TOKEN="")
    assert isinstance(error, MissingKey) and "HF_TOKEN" in str(error)
    assert server.requests == []


async def test_another_services_key_is_sent_to_nobody(server: HuggingFaceServer):
    drawer = backend(server, HF_TOKEN="r8_somebodyelses")
    ready = drawer.ready(MODEL)
    assert ready.state is Readiness.UNAVAILABLE and "r8_" not in ready.sentence
    _, error = await attempt(server, HF_TOKEN="r8_somebodyelses")
    assert isinstance(error, WrongKey)
    assert server.requests == []


@pytest.mark.parametrize("name", ["HF_ENDPOINT", "HF_INFERENCE_BASE"])
async def test_an_address_that_makes_no_sense(server: HuggingFaceServer, name: str):
    settings = {name: "router.example"}
    _, error = await attempt(server, ASK, MODEL, **settings)
    assert isinstance(error, NotReady) and name in str(error)


def test_a_token_is_not_in_the_accounts_repr():
    account = Credentials.from_config(Config(value={"HF_TOKEN": TOKEN}.get, home=Path("unused")))
    assert account.router == "https://router.huggingface.co"
    assert account.hub == "https://huggingface.co"
    assert TOKEN not in repr(account)


async def test_a_retired_entry_is_not_sent(server: HuggingFaceServer):
    gone = replace(MODEL, status=Status(state=State.RETIRED))
    assert backend(server).ready(gone).state is Readiness.UNAVAILABLE
    _, error = await attempt(server, model=gone)
    assert isinstance(error, RetiredModel)
    assert server.requests == []


@pytest.mark.parametrize(
    "options", [{"provider": "midnight"}, {"bill_to": "two\r\nlines"}, {"bill_to": "naïve"}]
)
async def test_options_that_make_no_sense(server: HuggingFaceServer, options: dict[str, str]):
    with pytest.raises(BadInput):
        await draw(server, replace(ASK, options={"huggingface": options}))
    assert server.requests == []


async def test_an_option_that_there_is_not(server: HuggingFaceServer):
    got = await draw(server, by("auto", ASK, sparkle="yes"))
    assert receipt_of(got).honoured["sparkle"].used is None
    assert all(isinstance(event, Picture) for event in got[1:-1])
