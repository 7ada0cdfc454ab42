"""Map the errors of OpenAI's API to `BackendError`s, by a table of rules.

The first matching rule applies. A rule matches if the error has one of its codes, or if its status
is one of the rule's and its message contains the rule's phrase (if any). Errors in the middle of a
stream have no status, so codes take precedence.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.base import Model
from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    NoCredit,
    RateLimited,
    Refused,
    RetiredModel,
    ServiceFault,
    WrongKey,
)
from backends.http.client import retry_after
from backends.http.errors import failure, transport_failure, unanswered
from backends.openai.credentials import Credentials
from backends.wording import redact, retry_phrase, service_message

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
    statuses: range | frozenset[int] = frozenset()
    phrase: str = ""

    def matches(self, code: str, status: int | None, message: str) -> bool:
        """Return whether this rule applies to an error; `status` is None within a stream."""
        if code and code in self.codes:
            return True
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
        _codes("insufficient_quota billing_hard_limit_reached billing_not_active"),
        frozenset({402}),
    ),
    Rule(
        RateLimited,
        "{service} takes no more requests from this key for now. Try again {wait}.",
        _codes("rate_limit_exceeded slow_down"),
        frozenset({429}),
    ),
    Rule(
        WrongKey,
        "{service} does not accept the key: {reason} Check {key}.",
        _codes("invalid_api_key incorrect_api_key_provided account_deactivated"),
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
        frozenset({400, 413, 415, 422}),
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
        frozenset({502, 503}),
    ),
    Rule(
        ServiceFault,
        "{service} failed: {reason}",
        _codes("server_error internal_error"),
        range(400, 600),
    ),
)


def rule_for(code: str, status: int | None, message: str) -> Rule:
    """Return the first matching rule, the last one for an unknown error."""
    return next((rule for rule in RULES if rule.matches(code, status, message)), RULES[-1])


LOOK = "Look at your usage page before you try again."


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
        case openai.APIError():
            return _status_error(error, credentials, model, api)
        case _:
            return failure(error, credentials.service, look=LOOK, advice=credentials.advice)


def _status_error(
    error: "openai.APIError", credentials: Credentials, model: Model, api: str
) -> BackendError:
    import openai

    response = error.response if isinstance(error, openai.APIStatusError) else None
    status = response.status_code if response else None
    if status in (504, 524):  # a gateway timed out, the request behind it may go on
        return unanswered(credentials.service, "in time")
    code = error.code or error.type or ""
    rule = rule_for(code, status, error.message)
    wait = retry_after(response.headers) if response else None
    message = rule.sentence.format(
        service=credentials.service,
        api=api,
        model=model.source,
        status=status,
        reason=_reason(error, credentials.key),
        kinds=_kinds(error.message),
        key=credentials.key_setting,
        address=credentials.address_setting,
        wait=retry_phrase(wait),
    )
    if rule.kind is RateLimited:
        return RateLimited(message, retry_after=wait)
    explained = rule.kind(message)
    if rule.kind is Refused and response is None:
        explained.charged = None  # refused within a stream: partial pictures may be billed
    return explained


def _kinds(message: str) -> str:
    """Return the kinds of safety violations that a refusal names, as part of a sentence."""
    listed = re.search(r"safety_violations=\[([^\]]+)\]", message)
    if listed is None:
        return ""
    kinds = (kind.strip(" '\"").replace("_", " ") for kind in listed[1].split(","))
    return f" ({redact(', '.join(kinds))})"


def _reason(error: "openai.APIError", key: str | None) -> str:
    """Return the service's message, without the "Error code: 400 - {...}" that the SDK adds."""
    match error.body:
        case {"message": str(found)} | {"detail": str(found)}:
            pass
        case {"detail": [{"msg": str(found)}, *_]} | str(found):
            pass
        case _:
            found = ""
    return service_message(found, key)
