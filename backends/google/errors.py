"""Map the errors of Google's Gemini API to `BackendError`s."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from backends.base import Model
from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    NoCredit,
    RateLimited,
    RetiredModel,
    ServiceFault,
    WrongKey,
)
from backends.google.credentials import Credentials
from backends.google.response import BILL
from backends.http.client import retry_after
from backends.http.errors import failure, unanswered
from backends.wording import retry_phrase, service_message

if TYPE_CHECKING:
    from google.genai import errors

_SPENT = re.compile(
    r"credits are depleted|spend(ing)? cap|\blimit: 0\b|free quota tier|enable billing|billed users"
)
_BAD_KEY = re.compile(
    r"api key (not valid|not found|expired)|leaked|unregistered callers|suspended"
)


def explain(
    error: Exception, credentials: Credentials, model: Model, *, api: str = "image service"
) -> BackendError:
    """Map an exception of the SDK or of the transport to a `BackendError`.

    `api` is the kind of service that was called, as a sentence names it.
    """
    from google.genai import errors

    match error:
        case errors.APIError():
            return _status_error(error, credentials, model, api)
        case _:
            return failure(error, credentials.service, look=BILL)


def safe_cause(error: Exception, credentials: Credentials) -> Exception | None:
    """Return `error` for a `raise ... from`, None if it repeats the key, as a service may do."""
    leaks = credentials.key is not None and credentials.key in f"{error!r}"
    return None if leaks else error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Details:
    """The machine-readable part of an error's body; empty if the body is not the API's."""

    status: str
    reasons: frozenset[str]
    wait: float | None
    daily: bool


def _status_error(
    error: "errors.APIError", credentials: Credentials, model: Model, api: str
) -> BackendError:
    details = _parse_details(error)
    service, low = credentials.service, str(error.message or "").lower()
    why = service_message(str(error.message or ""), credentials.key)
    match error.code:
        case 401:
            return _wrong_key(service, why)
        case 400 | 403 if "API_KEY_INVALID" in details.reasons or _BAD_KEY.search(low):
            return _wrong_key(service, why)
        case 402:
            return _no_credit()
        case 400 | 403 | 429 if "BILLING_DISABLED" in details.reasons or _SPENT.search(low):
            return _no_credit()
        case 400 if details.status == "FAILED_PRECONDITION":
            return Forbidden(f"{service} does not serve this key or region: {why}")
        case 403:
            return Forbidden(f"{service} does not allow this key to use {model.source}: {why}")
        case 404 if details.status == "NOT_FOUND":
            return RetiredModel(
                f"{service} has no model {model.source} for this key; it may be retired. "
                "See ai.google.dev/gemini-api/docs/deprecations, or choose another model."
            )
        case 429:
            return _rate_limited(service, details)
        case 400 | 413 | 415 | 422:
            return BadInput(f"{service} does not take this request: {why}")
        case 499 | 504 | 524:  # a gateway timed out, the request behind it may go on
            return unanswered(service, "in time")
        case 502 | 503:
            return ServiceFault(f"{service} is overloaded or down ({error.code}). Try again later.")
        case code if code < 400 or code in (404, 405):
            return ServiceFault(
                f"{service} has no {api} at this address. Check GOOGLE_BASE_URL.",
                charged=False,
            )
        case code if code < 500:
            return ServiceFault(
                f"{service} could not take the request ({code}): {why}", charged=False
            )
        case _:
            return ServiceFault(f"{service} failed: {why}")


def _wrong_key(service: str, why: str) -> WrongKey:
    return WrongKey(
        f"{service} does not accept the key: {why} Check GOOGLE_API_KEY, or make a new one at "
        "aistudio.google.com/apikey."
    )


def _no_credit() -> NoCredit:
    return NoCredit(
        "The account behind the key has no credit left, or no billing: Google draws for paying "
        "accounts only. Look at aistudio.google.com/billing, then try again."
    )


def _rate_limited(service: str, details: _Details) -> RateLimited:
    if details.daily:
        return RateLimited(f"{service} takes no more requests from this key today. Wait a day.")
    return RateLimited(
        f"{service} takes no more requests from this key for now. "
        f"Try again {retry_phrase(details.wait)}.",
        retry_after=details.wait,
    )


def _parse_details(error: "errors.APIError") -> _Details:
    """Parse the body's details: reasons, the wait before a retry, and a daily quota."""
    match error.details:
        case {"error": {"details": [*details]}}:
            pass
        case _:
            details = list[object]()
    reasons: set[str] = set()
    wait = retry_after(_headers(error))
    daily = False
    for detail in details:
        match detail:
            case {"reason": str(found)}:
                reasons.add(found)
            case {"retryDelay": str(delay)} if re.fullmatch(r"\d{1,9}(\.\d+)?s", delay):
                wait = float(delay[:-1])
            case {"violations": [*violations]}:
                daily = daily or any("PerDay" in str(violation) for violation in violations)
            case _:
                continue
    return _Details(
        status=str(error.status or ""), reasons=frozenset(reasons), wait=wait, daily=daily
    )


def _headers(error: "errors.APIError") -> Mapping[str, str]:
    return cast(Any, error.response).headers if error.response is not None else {}
