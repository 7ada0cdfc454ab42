"""Every failure of a call to OpenAI's image API, as a sentence for the card."""

import re
from typing import TYPE_CHECKING

from backends.base import Model
from backends.errors import BackendError, RateLimited, Refused
from backends.http.client import reason, retry_after
from backends.http.errors import failure, transport_failure, unanswered
from backends.openai.credentials import Account
from backends.openai.errors import rule_for
from backends.wording import sentence, when

if TYPE_CHECKING:
    import openai

LOOK = "Look at your usage page before you try again."


def explain(error: Exception, account: Account, model: Model) -> BackendError:
    """Return what `error` means for the person at the card."""
    import httpx2

    import openai

    match error:
        case openai.APIConnectionError(__cause__=httpx2.RequestError() as cause):
            return transport_failure(cause, account.service, advice=account.advice)
        case openai.APIConnectionError():
            return unanswered(account.service, "before the connection was lost")
        case openai.APIError():
            return _answered(error, account, model)
        case _:
            return failure(error, account.service, look=LOOK, advice=account.advice)


def _answered(error: "openai.APIError", account: Account, model: Model) -> BackendError:
    import openai

    response = error.response if isinstance(error, openai.APIStatusError) else None
    status = response.status_code if response else None
    if status in (504, 524):  # a gateway gave up waiting, what it waited for may go on
        return unanswered(account.service, "in time")
    code = error.code or error.type or ""
    rule = rule_for(code, status, error.message)
    wait = retry_after(response.headers) if response else None
    message = rule.sentence.format(
        service=account.service,
        model=model.source,
        status=status,
        reason=_reason(error, account.key),
        kinds=_kinds(error.message),
        key=account.key_setting,
        address=account.address_setting,
        wait=when(wait),
    )
    if rule.kind is RateLimited:
        return RateLimited(message, retry_after=wait)
    explained = rule.kind(message)
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
        case str(said):
            pass
        case _:
            said = ""
    return sentence(said, key)
