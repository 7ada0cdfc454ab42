"""Every failure of a call to OpenAI's image API, as a sentence for the card."""

import json
import re
from typing import TYPE_CHECKING

from backends.base import Model
from backends.errors import BackendError, RateLimited, Refused, ServiceFault
from backends.http import reason, retry_after
from backends.http_failures import transport_failure, unanswered
from backends.openai_request import Account
from backends.openai_rules import rule_for

if TYPE_CHECKING:
    import openai


def explain(error: Exception, account: Account, model: Model) -> BackendError:
    """Return what `error` means for the person at the card."""
    import httpx2

    import openai

    match error:
        case BackendError():
            return error
        case httpx2.RequestError():
            return transport_failure(error, account.service)
        case openai.APIConnectionError(__cause__=httpx2.RequestError() as cause):
            return transport_failure(cause, account.service)
        case openai.APIConnectionError():
            return unanswered(account.service, "before the connection was lost")
        case openai.APIError():
            return _answered(error, account, model)
        case json.JSONDecodeError() | UnicodeDecodeError():
            return ServiceFault(
                f"{account.service} sent an answer that is cut short or is not JSON. "
                "Look at your usage page before you try again."
            )
        case _:
            return ServiceFault(
                f"{account.service} sent an answer that makes no sense ({type(error).__name__})."
            )


def _answered(error: "openai.APIError", account: Account, model: Model) -> BackendError:
    import openai

    response = error.response if isinstance(error, openai.APIStatusError) else None
    status = response.status_code if response else None
    if status in (504, 524):  # a gateway gave up waiting, what it waited for may go on
        return unanswered(account.service, "in time")
    code = error.code or error.type or ""
    rule = rule_for(code, status, error.message)
    wait = retry_after(response.headers) if response else None
    sentence = rule.sentence.format(
        service=account.service,
        model=model.source,
        status=status,
        reason=_reason(error, account.key),
        kinds=_kinds(error.message),
        wait="later" if wait is None else f"in {max(1, round(wait))} s",
    )
    if rule.kind is RateLimited:
        return RateLimited(sentence, retry_after=wait)
    explained = rule.kind(sentence)
    if rule.kind is Refused and response is None:
        explained.charged = None  # partial pictures had been drawn
    return explained


def _kinds(message: str) -> str:
    listed = re.search(r"safety_violations=\[([^\]]+)\]", message)
    if listed is None:
        return ""
    kinds = (kind.strip(" '\"").replace("_", " ") for kind in listed[1].split(","))
    return f" ({reason(', '.join(kinds))})"


def _reason(error: "openai.APIError", key: str | None) -> str:
    """The service's own words, without the "Error code: 400 - {...}" that the package adds."""
    match error.body:
        case {"message": str(said)} | {"detail": str(said)} | {"detail": [{"msg": str(said)}, *_]}:
            pass
        case str(said) if not said.lstrip().startswith("<"):  # a page for a browser says nothing
            pass
        case _:
            said = ""
    said = reason(said, key) or "it gave no reason"
    return said if said.endswith((".", "!", "?", "…")) else f"{said}."
