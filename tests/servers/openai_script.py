"""Scripts for requests to the fake OpenAI server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

USAGE: Mapping[str, Any] = {
    "input_tokens": 12,
    "input_tokens_details": {"text_tokens": 12, "image_tokens": 0},
    "output_tokens": 196,
    "total_tokens": 208,
}


@dataclass(frozen=True, kw_only=True)
class Script:
    """What happens to one request; the first of `hang`, `status`, `raw` that is set decides.

    `cut` drops the connection after that many bytes of the response, `drip` sends it in `pieces`
    with a pause between them. `stream` False responds with plain JSON to a request for a stream,
    `names` False sends events without names; `stream_error` is sent as the error of a stream after
    its partial pictures, `unfinished` ends it there, `linger` does not end it at all.
    """

    delay: float = 0.0
    picture: bytes | None = field(default=None, repr=False)
    partial: bytes | None = field(default=None, repr=False)
    hang: bool = False
    status: int | None = None
    error: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    raw: bytes | None = None
    media_type: str = "application/json"
    cut: int | None = None
    drip: float = 0.0
    pieces: int = 8
    stream: bool = True
    names: bool = True
    stream_error: Mapping[str, Any] | None = None
    unfinished: bool = False
    linger: bool = False
    url: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    usage: Mapping[str, Any] | None = field(default_factory=lambda: USAGE)


def failing(status: int, code: str | None = None, message: str = "No.", **more: Any) -> Script:
    """Return a script that responds with the API's error object."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    headers = more.pop("headers", {})
    return Script(status=status, error={**error, **more}, headers=headers)
