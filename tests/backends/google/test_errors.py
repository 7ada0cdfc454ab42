"""Every failure of Google's image models, case by case, over real sockets."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from backends.base import Picture
from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    NoCredit,
    RateLimited,
    Refused,
    RetiredModel,
    ServiceFault,
    Unanswered,
    WrongKey,
)
from backends.google.response import PICTURE_REASONS, PROMPT_REASONS
from tests.backends.google.case import ASK, KEY, backend, events, pictures_of, receipt_of
from tests.servers.google import USAGE, GoogleServer, Script, error_info, failing, retry_info

QUOTA = "You exceeded your current quota, please check your plan and billing details."
PER_DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
}
NOTHING = {"promptTokenCount": 0, "candidatesTokenCount": 0}
PAGE = b"<html><b>Not here</b> /srv/app/x.py</html>"


@pytest.fixture
def google() -> Iterator[GoogleServer]:
    with GoogleServer() as running:
        yield running


async def failure(google: GoogleServer, script: Script) -> BackendError:
    """What a job becomes that meets `script`."""
    google.usual = script
    with pytest.raises(BackendError) as caught:
        await events(backend(google.origin))
    assert len(google.generations) == 1, "nothing is sent twice"
    error = caught.value
    assert str(error).startswith(("The server at", "The account", "The service"))
    assert str(error).endswith((".", "…"))
    for innard in (KEY, "<b>", "/srv/app", "{"):
        assert innard not in str(error)
    assert KEY not in repr(error.__cause__)
    return error


def bad(message: str, *reasons: str, code: int = 400, status: str = "INVALID_ARGUMENT") -> Script:
    return failing(code, status, message, *map(error_info, reasons))


def page(status: int) -> Script:
    return Script(status=status, raw=PAGE, media_type="text/html")


CASES = {
    "expired key": (bad("API key expired. Please renew it.", "API_KEY_INVALID"), WrongKey),
    "bad key without its reason": (bad("API key not valid. Please pass one."), WrongKey),
    "key of no kind": (failing(401, "UNAUTHENTICATED", "No valid credentials."), WrongKey),
    "leaked key": (
        bad("Your API key was reported as leaked.", code=403, status="PERMISSION_DENIED"),
        WrongKey,
    ),
    "suspended": (
        bad(f"Consumer 'api_key:{KEY}' has been suspended.", "CONSUMER_SUSPENDED", code=403),
        WrongKey,
    ),
    "no billing": (bad("Enable it.", "BILLING_DISABLED", code=403), NoCredit),
    "no free tier": (
        failing(429, "RESOURCE_EXHAUSTED", f"{QUOTA} Quota: free_tier_requests, limit: 0, x"),
        NoCredit,
    ),
    "spending cap": (failing(429, "RESOURCE_EXHAUSTED", "Monthly spending cap hit."), NoCredit),
    "payment required": (failing(402, "FAILED_PRECONDITION", "Pay first."), NoCredit),
    "region": (
        bad("User location is not supported.", status="FAILED_PRECONDITION"),
        Forbidden,
    ),
    "api not enabled": (
        bad("The API has not been used in project 1.", "SERVICE_DISABLED", code=403),
        Forbidden,
    ),
    "gone": (failing(404, "NOT_FOUND", "models/x is not found for API version v1."), RetiredModel),
    "rate with a limit": (
        failing(429, "RESOURCE_EXHAUSTED", f"{QUOTA} Quota: requests, limit: 10, x"),
        RateLimited,
    ),
    "bad request": (bad("Seed is out of range."), BadInput),
    "too long": (failing(413, "INVALID_ARGUMENT", "Payload too large."), BadInput),
    "conflict": (failing(409, "ABORTED", "Try again."), ServiceFault),
    "gateway gave up": (failing(504, "DEADLINE_EXCEEDED", "Too late."), Unanswered),
    "page for 404": (page(404), ServiceFault),
    "page for 500": (page(500), ServiceFault),
    "moved": (Script(status=302, raw=PAGE, headers={"Location": "/elsewhere"}), ServiceFault),
}
CHARGED = {"gateway gave up": None, "page for 500": None}


@pytest.mark.parametrize("name", CASES)
async def test_the_table(google: GoogleServer, name: str) -> None:
    script, kind = CASES[name]
    error = await failure(google, script)
    assert type(error) is kind, f"{type(error).__name__}: {error}"
    assert error.charged is CHARGED.get(name, False)


async def test_the_services_own_words_are_said_where_they_help(google: GoogleServer) -> None:
    error = await failure(google, bad("Seed is out of range."))
    assert str(error).endswith("does not take this request: Seed is out of range.")


async def test_an_address_without_the_service_names_the_setting(google: GoogleServer) -> None:
    assert "GOOGLE_BASE_URL" in str(await failure(google, page(404)))


@pytest.mark.parametrize(
    ("script", "wait", "sentence"),
    [
        (failing(429, "RESOURCE_EXHAUSTED", QUOTA, retry_info("7s")), 7.0, "in 7 s"),
        (failing(429, "RESOURCE_EXHAUSTED", QUOTA, retry_info("0.25s")), 0.25, "in 1 s"),
        (failing(429, "RESOURCE_EXHAUSTED", QUOTA, headers={"Retry-After": "9"}), 9.0, "in 9 s"),
        (failing(429, "RESOURCE_EXHAUSTED", QUOTA, retry_info("soon")), None, "later"),
        (failing(429, "RESOURCE_EXHAUSTED", QUOTA, retry_info("30s"), PER_DAY), None, "a day"),
    ],
)
async def test_how_long_to_wait(
    google: GoogleServer, script: Script, wait: float | None, sentence: str
) -> None:
    error = await failure(google, script)
    assert isinstance(error, RateLimited)
    assert error.retry_after == wait
    assert str(error).endswith(f"{sentence}.")


@pytest.mark.parametrize("reason", [*PROMPT_REASONS, "OTHER", "SOMETHING_NEW"])
async def test_a_declined_prompt(google: GoogleServer, reason: str) -> None:
    error = await failure(google, Script(blocked=reason, usage=NOTHING))
    assert isinstance(error, Refused) and error.charged is False
    why = PROMPT_REASONS.get(reason, "it gave no reason")
    assert f"declined the prompt: {why}. Change the prompt" in str(error)


@pytest.mark.parametrize("reason", PICTURE_REASONS)
async def test_a_withheld_picture(google: GoogleServer, reason: str) -> None:
    error = await failure(google, Script(finish=reason, parts=()))
    assert isinstance(error, Refused)
    assert f"withheld the picture: {PICTURE_REASONS[reason]}." in str(error)
    assert error.charged is None, "tokens were counted, whether they are billed is not said"


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (Script(finish="NO_IMAGE", parts=()), "without a picture (no image)."),
        (Script(finish="IMAGE_OTHER", parts=()), "without a picture (image other)."),
        (Script(finish="STOP", parts=()), "without a picture."),
        (Script(finish=None, parts=()), "without a picture."),
        (Script(raw=b"{}"), "without a picture."),
        (Script(raw=b'{"candidates": []}'), "without a picture."),
        (Script(raw=b'{"candidates": {"content": 3}}'), "without a picture."),
        (Script(raw=b"[1]"), "without a picture."),
        (Script(parts=[{"inlineData": {"mimeType": "image/png"}}]), "without a picture."),
        (Script(parts=[{"text": "Which harbour?"}]), "instead of a picture: “Which harbour?”"),
        (
            Script(finish="NO_IMAGE", parts=(), message="Try other words."),
            "instead of a picture: “Try other words.”",
        ),
        (Script(raw=b""), "cut short or is not JSON"),
    ],
)
async def test_an_answer_without_a_picture_is_no_refusal(
    google: GoogleServer, script: Script, sentence: str
) -> None:
    error = await failure(google, script)
    assert type(error) is ServiceFault and error.charged is None
    assert sentence in str(error)
    assert "before you try again" in str(error)


async def test_base64_that_is_none(google: GoogleServer) -> None:
    script = Script(parts=[{"inlineData": {"mimeType": "image/png", "data": "abcde"}}])
    assert "damaged picture" in str(await failure(google, script))


async def test_a_picture_counts_whatever_the_model_says_beside_it(google: GoogleServer) -> None:
    google.usual = Script(finish="MAX_TOKENS", message="That was long.")
    assert len(pictures_of(await events(backend(google.origin)))) == 1


async def test_a_refusal_among_several_is_not_passed_over(google: GoogleServer) -> None:
    google.queue.append(Script(finish="IMAGE_SAFETY", parts=()))
    drawer = backend(google.origin)
    drawn = await events(drawer, request=replace(ASK, count=3))
    assert len([event for event in drawn if isinstance(event, Picture)]) == 2
    receipt = receipt_of(drawn)
    note = receipt.honoured["count"].note
    assert note.startswith("2 instead of 3 pictures: The server") and "withheld" in note
    assert receipt.usage["text_input"] == 3 * USAGE["promptTokenCount"]


async def test_the_answer_is_waited_for_as_long_as_the_settings_say(google: GoogleServer) -> None:
    google.usual = Script(hang=True)
    patient = backend(google.origin, LINEUP_ANSWER_SECONDS="0.3")
    with pytest.raises(Unanswered, match=r"within 0\.3 s\. It may have been billed"):
        await events(patient)
    assert len(google.generations) == 1
