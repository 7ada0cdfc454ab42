"""Map the errors of OpenAI's API to `BackendError`s, by a table of rules.

An error's code decides; then what it says, because a proxy may put the service's error into its own
and flatten the code to "400"; then its status, if its message contains the rule's phrase (if any).
Errors in the middle of a stream, or in an answer that claims success, have no status.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from backends.base import Model
from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    MaybeBilled,
    NoCredit,
    RateLimited,
    Refused,
    RetiredModel,
    ServiceFault,
    WrongKey,
)
from backends.http.client import retry_after
from backends.http.errors import MAY_BE_BILLED, failure, transport_failure, unanswered
from backends.json_values import count
from backends.openai.credentials import Credentials
from backends.openai.response import ErrorAnswer
from backends.wording import NO_REASON, redact, retry_phrase, service_message

if TYPE_CHECKING:
    import openai


@dataclass(frozen=True, slots=True)
class Rule:
    """The error that a code or a status stands for.

    `sentence` may use {service}, {api}, {model}, {reason}, {kinds}, {key}, {address}, {wait}
    and {status}.
    """

    kind: type[BackendError]
    sentence: str
    codes: frozenset[str] = frozenset()
    says: tuple[str, ...] = ()
    statuses: range | frozenset[int] = frozenset()
    phrase: str = ""

    def is_said(self, message: str) -> bool:
        """Return whether an error says what this rule is about, whatever its code and status."""
        if not self.says:
            return False
        lowered = message.lower()
        words = re.findall(r"[a-z]+(?:_[a-z]+)+", lowered)
        return not self.codes.isdisjoint(words) or any(said in lowered for said in self.says)

    def matches(self, status: int | None, message: str) -> bool:
        """Return whether this rule applies to a status; it is None within a stream."""
        return status in self.statuses and self.phrase in message.lower()


class Unbilled(ServiceFault):
    """The service failed before it billed anything."""

    charged = False


def _codes(names: str) -> frozenset[str]:
    return frozenset(names.split())


REFUSALS = _codes("moderation_blocked content_policy_violation content_filter")

RULES = (
    Rule(
        Refused,
        "{service} declined the prompt or the picture in moderation{kinds}. "
        "Change the prompt and try again.",
        REFUSALS,
        (
            "safety system",
            "safety_violations",
            "content policy",
            "content filter",
            "content management policy",
            "responsibleaipolicyviolation",
            "filtered words",
            "flagged as",
            "flagged by",
            "violates our",
        ),
    ),
    Rule(
        RetiredModel,
        "{service} has no model {model} for this key; it may be retired. "
        "See developers.openai.com/api/docs/deprecations, or choose another model.",
        _codes("model_not_found model_not_available deprecated_model"),
    ),
    Rule(
        NoCredit,
        "The account behind the key has no credit left, or its limit is reached. "
        "Add credit on the billing page, then try again.",
        _codes(
            "insufficient_quota billing_hard_limit_reached billing_not_active budget_exceeded "
            "insufficient_balance insufficient_credits insufficient_funds payment_required"
        ),
        (
            "exceeded your current quota",
            "billing hard limit",
            "billing limit",
            "budget has been exceeded",
            "exceeded budget",
            "insufficient balance",
            "insufficient credit",
            "insufficient fund",
            "credit balance is too low",
            "out of credit",
            "no credit",
        ),
        frozenset({402}),
    ),
    Rule(
        RateLimited,
        "{service} takes no more requests from this key for now. Try again {wait}.",
        _codes("rate_limit_exceeded slow_down"),
        statuses=frozenset({429}),
    ),
    Rule(
        WrongKey,
        "{service} does not accept the key: {reason} Check {key}.",
        _codes(
            "invalid_api_key incorrect_api_key_provided account_deactivated token_not_found_in_db"
        ),
        (
            "incorrect api key",
            "invalid api key",
            "invalid proxy server token",
            "invalid virtual key",
            "no connected db",  # what LiteLLM says of any key but its own, without a database
        ),
        frozenset({401}),
    ),
    Rule(
        Forbidden,
        "{service} gives {model} to verified organisations only. Verify yours under "
        "platform.openai.com/settings/organization/general; it may take 15 minutes to count.",
        statuses=frozenset({403}),
        phrase="verif",
    ),
    Rule(
        Forbidden,
        "{service} does not serve this country or region.",
        _codes("unsupported_country_region_territory"),
    ),
    Rule(
        Forbidden,
        "{service} does not allow this key to use {model}: {reason}",
        statuses=frozenset({403}),
    ),
    Rule(
        RetiredModel,
        "{service} has no model {model} for this key; it may be retired. "
        "See developers.openai.com/api/docs/deprecations, or choose another model.",
        statuses=frozenset({404}),
        phrase="model",
    ),
    Rule(
        Unbilled,
        "{service} has no {api} at this address. Check {address}.",
        statuses=frozenset({404, 405, *range(300, 400)}),
    ),
    Rule(
        BadInput,
        "{service} does not take this request: {reason}",
        _codes("invalid_value invalid_size unknown_parameter unsupported_value"),
        statuses=frozenset({400, 413, 415, 422}),
    ),
    Rule(
        Unbilled,
        "{service} could not take the request just now ({status}). Try again.",
        statuses=frozenset({408, 409, 425}),
    ),
    Rule(
        ServiceFault,
        "{service} is overloaded or down ({status}). Try again later.",
        _codes("server_overloaded overloaded engine_overloaded"),
        statuses=frozenset({502, 503}),
    ),
    Rule(
        ServiceFault,
        "{service} failed: {reason}",
        _codes("server_error internal_error"),
        statuses=range(400, 600),
    ),
)


def rule_for(code: str, status: int | None, message: str) -> Rule:
    """Return the rule for an error, the last one for an unknown error."""
    by_code = (rule for rule in RULES if code and code in rule.codes)
    by_words = (rule for rule in RULES if rule.is_said(message))
    by_status = (rule for rule in RULES if rule.matches(status, message))
    return next(chain(by_code, by_words, by_status), RULES[-1])


def is_refusal(code: str, message: str) -> bool:
    """Return whether an error is one of moderation."""
    return rule_for(code, None, message).kind is Refused


def is_unspecific(error: "openai.APIStatusError") -> bool:
    """Return whether an error gives no reason, or repeats its status as one."""
    reason = _reason(error.body, None).lower().rstrip(".")
    return reason == NO_REASON.rstrip(".") or reason in _STATUS_WORDS


_STATUS_WORDS = frozenset(
    {
        "bad request",
        "invalid request",
        "method not allowed",
        "not acceptable",
        "not implemented",
        "unprocessable",
        "unprocessable content",
        "unprocessable entity",
        "unsupported media type",
    }
)
LOOK = "Look at your usage page before you try again."


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """An error as the server reports it; `status` is None within a stream, or a 200."""

    message: str
    code: str
    body: object
    status: int | None = None
    retry_after: float | None = None

    @classmethod
    def from_sdk(cls, error: "openai.APIError") -> "Reported":
        """Read an exception of the SDK."""
        import openai

        response = error.response if isinstance(error, openai.APIStatusError) else None
        return cls(
            message=error.message,
            code=str(error.code or error.type or ""),
            body=error.body,
            status=response.status_code if response else None,
            retry_after=retry_after(response.headers) if response else None,
        )

    @classmethod
    def from_answer(cls, body: Mapping[str, Any]) -> "Reported":
        """Read an error object; a code such as "400" in it stands for the status."""
        code = body.get("code") or body.get("type") or ""
        status = count(body.get("status")) or count(body.get("code"))
        if not status and str(code).isdecimal():
            status = int(code)
        return cls(
            message=str(body.get("message") or ""),
            code=str(code),
            body=body,
            status=status if 400 <= status < 600 else None,
        )


def explain(
    error: Exception, credentials: Credentials, model: Model, *, api: str = "image service"
) -> BackendError:
    """Map an exception of the SDK or of the transport to a `BackendError`.

    `api` is the kind of service that was called, as a sentence names it.
    """
    import httpx2

    import openai

    match error:
        case openai.APIConnectionError(__cause__=httpx2.RequestError() as cause):
            return transport_failure(cause, credentials.service, advice=credentials.advice)
        case openai.APIConnectionError():
            return unanswered(credentials.service, "before the connection was lost")
        case openai.APIStatusError():
            return _explained(Reported.from_sdk(error), credentials, model, api)
        case openai.APIError() | ErrorAnswer():
            is_sdk = isinstance(error, openai.APIError)
            reported = Reported.from_sdk(error) if is_sdk else Reported.from_answer(error.body)
            explained = _explained(reported, credentials, model, api)
            if isinstance(explained, Refused):
                explained.charged = None  # a service that began to draw may bill that
            return explained
        case _:
            return failure(error, credentials.service, look=LOOK, advice=credentials.advice)


def _explained(
    reported: Reported, credentials: Credentials, model: Model, api: str
) -> BackendError:
    status, service = reported.status, credentials.service
    if status in (504, 524) or (status == 408 and not credentials.official):
        return unanswered(service, "in time")  # the request behind a gateway may go on
    said = f"{reported.message} {reported.body}"[:_MOST_READ]
    rule = rule_for(reported.code, status, said)
    message = rule.sentence.format(
        service=service,
        api=api,
        model=model.source,
        status=status,
        reason=_reason(reported.body, credentials.key),
        kinds=_kinds(said),
        key=credentials.key_setting,
        address=credentials.address_setting,
        wait=retry_phrase(reported.retry_after),
    )
    if rule.kind is RateLimited:
        return RateLimited(message, retry_after=reported.retry_after)
    if rule.kind is ServiceFault and credentials.is_paid_proxy:
        # The service behind it may have drawn before the proxy failed.
        return MaybeBilled(f"{message} {MAY_BE_BILLED}")
    return rule.kind(message)


_MOST_READ = 20_000
"""Characters of an error that are searched for what it is about."""


def _kinds(message: str) -> str:
    """Return the kinds of safety violations that a refusal names, as part of a sentence."""
    listed = re.search(r"safety_violations=\[([^\]]+)\]", message)
    if listed is None:
        return ""
    kinds = (kind.strip(" '\"").replace("_", " ") for kind in listed[1].split(","))
    return f" ({redact(', '.join(kinds))})"


def _reason(body: object, key: str | None) -> str:
    """Return the service's message, without the "Error code: 400 - {...}" that the SDK adds."""
    match body:
        case {"message": str(found)} | {"detail": str(found)} | {"error": str(found)}:
            pass
        case {"detail": {"error": str(found)}} | {"detail": {"message": str(found)}}:
            pass
        case {"detail": [{"msg": str(found), "loc": [*_, str(place)]}, *_]}:
            found = found if place in found else f"{place}: {found}"
        case {"detail": [{"msg": str(found)}, *_]} | str(found):
            pass
        case _:
            found = ""
    return service_message(found, key)
