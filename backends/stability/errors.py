"""Map the errors of Stability AI's image API to `BackendError`s.

An error's body is {"id", "name", "errors": [...]}. The API's documentation says that failed
generations are not charged; after a failure inside the service or on the way it is unknown.
"""

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
from backends.http.errors import failure, unanswered
from backends.json_values import loads
from backends.stability.credentials import Credentials
from backends.wording import retry_phrase, service_message

if TYPE_CHECKING:
    import httpx2

BILLING = "platform.stability.ai/account/credits"


def explain(error: Exception, credentials: Credentials) -> BackendError:
    """Map an exception from calling the service, or from parsing its response."""
    return failure(error, credentials.service, look=f"Look at {BILLING} before you try again.")


def rejected(
    response: "httpx2.Response", body: bytes, credentials: Credentials, model: Model
) -> BackendError:
    """Map a response with a status other than 200."""
    status, service = response.status_code, credentials.service
    name, message = _parse_error(body)
    why = service_message(message, credentials.key)
    match status:
        case 401:
            return WrongKey(f"{service} does not accept the key: {why} Check STABILITY_API_KEY.")
        case 402:
            return NoCredit(
                f"The account behind the key has too few credits left. Add some at {BILLING}, "
                "then try again."
            )
        case 400 | 403 | 422 if _is_moderation(name, message):
            return Refused(
                f"{service} declined the request in moderation; it was not charged. "
                "Change the prompt or the control picture and try again."
            )
        case 403:
            return Forbidden(f"{service} does not allow this key to use {model.label}: {why}")
        case 404 | 410:
            return RetiredModel(
                f"{service} has no {model.label} at this address: it may be retired. Choose "
                "another model, or check STABILITY_BASE_URL."
            )
        case 429:
            wait = retry_after(response.headers)
            return RateLimited(
                f"{service} takes no more requests from this key for now. "
                f"Try again {retry_phrase(wait, 'in a minute')}.",
                retry_after=wait,
            )
        case 400 | 413 | 415 | 422:
            return BadInput(f"{service} does not take this request: {why}")
        case 504 | 524:  # a gateway timed out, the request behind it may go on
            return unanswered(service, "in time")
        case 502 | 503:
            return ServiceFault(f"{service} is overloaded or down ({status}). Try again later.")
        case _ if status < 500:
            return ServiceFault(
                f"{service} could not take the request ({status}): {why}", charged=False
            )
        case _:
            return ServiceFault(f"{service} failed: {why}")


def filtered(credentials: Credentials) -> Refused:
    """Return the refusal of a picture that was blurred after drawing, which the API may bill."""
    refused = Refused(
        f"{credentials.service} drew the picture and blurred it in moderation, so it is not shown. "
        "It may have been billed. Change the prompt and try again."
    )
    refused.charged = None
    return refused


def without_picture(body: bytes, credentials: Credentials) -> BackendError:
    """Return the error for a response without a picture, which may hold an error object."""
    name, message = _parse_error(body)
    if _is_moderation(name, message):
        return filtered(credentials)
    why = f": {service_message(message, credentials.key)}" if message else "."
    return ServiceFault(
        f"{credentials.service} answered without a picture{why} Look at {BILLING} before you try "
        "again."
    )


def _is_moderation(name: str, message: str) -> bool:
    said = f"{name} {message}".lower()
    return any(word in said for word in _MODERATION)


_MODERATION = (
    "content_moderation",
    "content moderation",
    "invalid_prompts",
    "filtered words",
    "moderation system",
    "safety system",
    "content policy",
)


def _parse_error(body: bytes) -> tuple[str, str]:
    """Return an error's name and message, both empty if the body is not the API's."""
    try:
        answer = loads(body)
    except ValueError:
        return "", ""
    match answer:
        case {"errors": [*errors], **rest}:
            return str(rest.get("name") or ""), "; ".join(map(str, errors))
        case {"message": str(message), **rest}:
            return str(rest.get("name") or ""), message
        case _:
            return "", ""
