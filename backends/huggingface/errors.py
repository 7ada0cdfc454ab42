"""Map the errors of Hugging Face and of its providers to `BackendError`s."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

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
from backends.http.errors import failure, unanswered
from backends.json_values import loads, mapping, text
from backends.wording import retry_phrase, service_message

if TYPE_CHECKING:
    import httpx2

LOOK = "Look at huggingface.co/settings/billing before you try again."

_MODERATED = re.compile(
    r"nsfw|content[ _-]?(policy|checker|filter)|moderat|safety|flagged|unsafe|sensitive content",
    re.IGNORECASE,
)
_SPENT = re.compile(r"\bcredits?\b|\bbalance\b|\brecharge\b|\b1113\b", re.IGNORECASE)
"""What providers say of an empty account, in a 403 (Fal) or a 429 (Z.ai, by its code 1113)."""
MAX_MESSAGE_DEPTH: Final = 8
"""How deep a message lies in an error at most."""

# Fields that repeat the request's input are not searched: a prompt may contain any word.
_MESSAGE_FIELDS = ("error", "errors", "message", "msg", "detail")
_KIND_FIELDS = (*_MESSAGE_FIELDS, "type", "code")


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """The service and the model of a call, and the token to be removed from messages."""

    name: str
    model: str
    token: str = field(repr=False)


def explain(error: Exception, service: Service) -> BackendError:
    """Map an exception from calling the service, or from parsing its response."""
    return failure(error, service.name, look=LOOK)


def rejected(response: "httpx2.Response", body: bytes, service: Service) -> BackendError:
    """Map a response with the status of an error."""
    status = response.status_code
    message = _message(response.headers, body, _MESSAGE_FIELDS)
    kinds = _message(response.headers, body, _KIND_FIELDS)
    why = service_message(message, service.token)
    match status:
        case 400 | 403 | 422 if _MODERATED.search(kinds):
            return declined(service)
        case 401:
            return WrongKey(f"Hugging Face does not accept the token: {why} Check HF_TOKEN.")
        case 402:
            return no_credit()
        case 403 | 429 if _SPENT.search(kinds):
            return _provider_without_credit(service, why)
        case 403 if "permission" in message.lower():
            return Forbidden(
                "The token may not call Inference Providers. Allow it that at "
                "huggingface.co/settings/tokens, or use another token."
            )
        case 403:
            return Forbidden(f"{service.name} does not allow this token {service.model}: {why}")
        case 404 | 410:
            return RetiredModel(
                f"{service.name} no longer has {service.model}. Choose another provider or model."
            )
        case 429:
            wait = _wait(response.headers)
            return RateLimited(
                f"{service.name} takes no more requests for now. Try again {retry_phrase(wait)}.",
                retry_after=wait,
            )
        case 400 | 413 | 415 | 422:
            return BadInput(f"{service.name} does not take this request: {why}")
        case _ if status >= 500 and says_ended(response.headers, body):
            return failed(message, service)
        case 504 | 524:  # a gateway timed out, the request behind it may go on
            return unanswered(service.name, "in time")
        case 502 | 503:
            return ServiceFault(
                f"{service.name} is overloaded, down or still loading {service.model} ({status}). "
                "Try again in a minute."
            )
        case _ if status < 500:
            return ServiceFault(
                f"{service.name} could not take the request ({status}): {why}", charged=False
            )
        case _:
            return ServiceFault(f"{service.name} failed: {why}")


def says_ended(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether an error is Fal's word that a request has ended, not that of a gateway.

    Fal names the kind of its errors in a field and in a header ("Request Error Types",
    https://fal.ai/docs/documentation/model-apis/request-errors).
    """
    if headers.get("x-fal-error-type"):
        return True
    try:
        answer = loads(body)
    except ValueError:
        return False
    return bool(text(mapping(answer).get("error_type")))


def failed(message: str, service: Service) -> BackendError:
    """Return the error for a job that a provider accepted and then reported as failed."""
    if _MODERATED.search(message):
        refused = declined(service)
        refused.charged = None  # it may have been drawn
        return refused
    why = service_message(message, service.token)
    return ServiceFault(f"{service.name} could not finish the picture: {why}")


def declined(service: Service) -> Refused:
    """Return the refusal by moderation of the prompt or the picture."""
    return Refused(
        f"{service.name} declined the prompt or the picture in moderation. "
        "Change the prompt and try again."
    )


def no_credit() -> NoCredit:
    """Return the error for an account without credit."""
    return NoCredit(
        "The Hugging Face account has no credit for Inference Providers left. "
        "Add some at huggingface.co/settings/billing, then try again."
    )


def _provider_without_credit(service: Service, why: str) -> NoCredit:
    """Return the error for an account without credit at the provider, or at Hugging Face."""
    return NoCredit(
        f"The account that pays for {service.name} has no credit left: {why} Add some at "
        f"huggingface.co/settings/billing, or at {service.name} where you set a key of your own "
        "for it; or choose another provider."
    )


def without_picture(service: Service) -> ServiceFault:
    """Return the error for a response without a picture."""
    return ServiceFault(f"{service.name} answered without a picture. {LOOK}")


def _wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, from `Retry-After` or from the Hub's rate limit header."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    reset = float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None
    wait = retry_after(headers)
    return reset if wait is None else wait


def _message(headers: Mapping[str, str], body: bytes, names: tuple[str, ...]) -> str:
    """Return the service's message from a header or from the fields `names` of the body."""
    texts = [headers.get("x-error-message", "")]
    try:
        texts += _texts(loads(body), names)
    except ValueError:
        if headers.get("content-type", "").startswith("text/plain"):
            texts.append(body.decode(errors="replace"))
    return "; ".join(filter(None, texts))


def _texts(answer: object, names: tuple[str, ...], depth: int = MAX_MESSAGE_DEPTH) -> Iterator[str]:
    """Yield the strings in the fields `names` of a JSON value, down to `depth`."""
    if not depth:
        return
    match answer:
        case str():
            yield answer
        case [*entries]:
            for entry in entries:
                yield from _texts(entry, names, depth - 1)
        case {**fields}:
            for name in names:
                yield from _texts(fields.get(name), names, depth - 1)
        case _:
            return
