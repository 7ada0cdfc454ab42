"""Every failure on the way through Hugging Face to a provider, as a sentence for the card."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
from backends.wording import retry_phrase, service_message

if TYPE_CHECKING:
    import httpx2

LOOK = "Look at huggingface.co/settings/billing before you try again."

_MODERATED = re.compile(
    r"nsfw|content[ _-]?(policy|checker|filter)|moderat|safety|flagged|unsafe|sensitive content",
    re.IGNORECASE,
)
# Never the input that some services repeat: a prompt may hold any word.
_WORDS = ("error", "errors", "message", "msg", "detail")
_KINDS = (*_WORDS, "type", "code")


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """Who is asked for which model; the token is known so that it can be left out."""

    name: str
    model: str
    token: str = field(repr=False)


def explain(error: Exception, service: Service) -> BackendError:
    """Return what `error` means for the person at the card."""
    return failure(error, service.name, look=LOOK)


def rejected(response: "httpx2.Response", body: bytes, service: Service) -> BackendError:
    """Return what an answer other than 200 means."""
    status = response.status_code
    said = _said(response.headers, body, _WORDS)
    kinds = _said(response.headers, body, _KINDS)
    why = service_message(said, service.token)
    match status:
        case 400 | 403 | 422 if _MODERATED.search(kinds):
            return declined(service)
        case 401:
            return WrongKey(f"Hugging Face does not accept the token: {why} Check HF_TOKEN.")
        case 402:
            return no_credit()
        case 429 if "credit" in said.lower():
            return no_credit()
        case 403 if "permission" in said.lower():
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
        case 504 | 524:  # a gateway gave up waiting, what it waited for may go on
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


def failed(said: str, service: Service) -> BackendError:
    """Return what it means that a provider gave up a job that it had begun."""
    if _MODERATED.search(said):
        refused = declined(service)
        refused.charged = None  # it may have been drawn
        return refused
    why = service_message(said, service.token)
    return ServiceFault(f"{service.name} could not finish the picture: {why}")


def declined(service: Service) -> Refused:
    """Return that the prompt or the picture was found unfit."""
    return Refused(
        f"{service.name} declined the prompt or the picture in moderation. "
        "Change the prompt and try again."
    )


def no_credit() -> NoCredit:
    """Return that the account is empty."""
    return NoCredit(
        "The Hugging Face account has no credit for Inference Providers left. "
        "Add some at huggingface.co/settings/billing, then try again."
    )


def without_picture(service: Service) -> ServiceFault:
    """Return that an answer came and no picture is in it."""
    return ServiceFault(f"{service.name} answered without a picture. {LOOK}")


def _wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait; the Hub itself names them in a header of its own."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    own = float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None
    named = retry_after(headers)
    return own if named is None else named


def _said(headers: Mapping[str, str], body: bytes, names: tuple[str, ...]) -> str:
    """Return a service's own words, wherever in its answer it puts them."""
    words = [headers.get("x-error-message", "")]
    try:
        words += _words(json.loads(body), names)
    except ValueError:
        if headers.get("content-type", "").startswith("text/plain"):
            words.append(body.decode(errors="replace"))
    return "; ".join(filter(None, words))


def _words(answer: object, names: tuple[str, ...]) -> Iterator[str]:
    match answer:
        case str():
            yield answer
        case [*entries]:
            for entry in entries:
                yield from _words(entry, names)
        case {**fields}:
            for name in names:
                yield from _words(fields.get(name), names)
        case _:
            return
