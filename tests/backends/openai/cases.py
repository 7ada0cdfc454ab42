"""Every failure of OpenAI's image API: what the server does, and what the card then says."""

from dataclasses import dataclass, field
from typing import Any

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
from tests.backends.openai.case import KEY
from tests.servers import pictures
from tests.servers.openai import Script, failing

VIOLATIONS = (
    "Your request was rejected by the safety system. If you believe this is an error, contact us. "
    "safety_violations=[sexual,self_harm]."
)
ECHO = f"Incorrect API key provided: {KEY[:12]}****1234. Find yours at https://example.com/keys."


@dataclass(frozen=True)
class Case:
    """What the server does, and what the card then says."""

    name: str
    script: Script
    kind: type[BackendError]
    sentence: str
    charged: bool | None = False
    count: int = 1
    more: dict[str, Any] = field(default_factory=dict[str, Any])


def plain(**more: Any) -> Script:
    """An answer in one piece, whatever was asked for."""
    return Script(stream=False, **more)


CASES = [
    Case("bad key", failing(401, "invalid_api_key", ECHO), WrongKey, "does not accept the key"),
    Case("401 without a code", failing(401), WrongKey, "Check OPENAI_API_KEY"),
    Case(
        "organisation not verified",
        failing(403, None, "Your organization must be verified to use the model `gpt-image-2`."),
        Forbidden,
        "gpt-image-2 to verified organisations only",
    ),
    Case(
        "country",
        failing(403, "unsupported_country_region_territory", "Country not supported"),
        Forbidden,
        "does not serve this country",
    ),
    Case(
        "other 403",
        failing(403, None, f"Project lacks access with {KEY} to /srv/app/models.py"),
        Forbidden,
        r"not allow this key to use gpt-image-2: Project lacks access with \(key\)",
    ),
    Case(
        "retired, 404",
        failing(404, "model_not_found", "The model does not exist"),
        RetiredModel,
        "no model gpt-image-2 for this key; it may be retired",
    ),
    Case("retired, 400", failing(400, "model_not_found"), RetiredModel, "may be retired"),
    Case(
        "retired, in words",
        failing(404, None, "The model `gpt-image-2` has been deprecated"),
        RetiredModel,
        "may be retired",
    ),
    Case(
        "no such address",
        Script(status=404, raw=b"Not Found", media_type="text/plain"),
        ServiceFault,
        "no image service at this address. Check OPENAI_BASE_URL",
    ),
    Case(
        "redirect",
        Script(status=307, raw=b"", headers={"Location": "http://127.0.0.1:9/"}),
        ServiceFault,
        "Check OPENAI_BASE_URL",
    ),
    Case(
        "moderation of the prompt",
        failing(400, "moderation_blocked", VIOLATIONS, type="image_generation_user_error"),
        Refused,
        r"declined .* in moderation \(sexual, self harm\)\. Change the prompt",
    ),
    Case(
        "moderation without kinds",
        failing(400, "moderation_blocked", "Rejected."),
        Refused,
        r"in moderation\. Change",
    ),
    Case(
        "policy, the older code",
        failing(400, "content_policy_violation", "Rejected."),
        Refused,
        "in moderation",
    ),
    Case(
        "moderation in a stream",
        Script(stream_error={"code": "moderation_blocked", "message": VIOLATIONS}),
        Refused,
        r"in moderation \(sexual, self harm\)",
        charged=None,
    ),
    Case(
        "another error in a stream",
        Script(stream_error={"type": "server_error", "message": "The server had an error"}),
        ServiceFault,
        "failed: The server had an error",
        charged=None,
    ),
    Case(
        "an unheard-of error in a stream",
        Script(stream_error={"code": "brand_new", "message": "Oh."}),
        ServiceFault,
        "failed: Oh.",
        charged=None,
    ),
    Case(
        "rate limit without a wait", failing(429, "rate_limit_exceeded"), RateLimited, "again later"
    ),
    Case(
        "rate limit with a long wait",
        failing(429, "rate_limit_exceeded", headers={"Retry-After": "61"}),
        RateLimited,
        "again in 61 s",
    ),
    Case("429 without a code", failing(429), RateLimited, "takes no more requests"),
    Case("no credit", failing(429, "insufficient_quota"), NoCredit, "Add credit"),
    Case(
        "no credit, type only",
        failing(429, None, "You exceeded your quota", type="insufficient_quota"),
        NoCredit,
        "Add credit",
    ),
    Case("limit", failing(400, "billing_hard_limit_reached"), NoCredit, "limit is reached"),
    Case("402", failing(402), NoCredit, "Add credit"),
    Case(
        "bad size",
        failing(400, "invalid_value", "Invalid value: '7x7'.\n  <b>Supported</b> are others."),
        BadInput,
        r"does not take this request: Invalid value: '7x7'\. Supported are others\.",
    ),
    Case(
        "a 400 that speaks of the model",
        failing(400, "invalid_value", "Quality 'xhigh' does not exist for this model"),
        BadInput,
        "Quality 'xhigh'",
    ),
    Case(
        "moderation that quotes a stream",
        failing(400, "moderation_blocked", "Rejected: 'blood in the stream'"),
        Refused,
        "in moderation",
    ),
    Case(
        "the form of another framework",
        Script(status=422, raw=b'{"detail": [{"loc": ["body", "size"], "msg": "no such size"}]}'),
        BadInput,
        r"no such size\.$",
    ),
    Case("422", failing(422, None, "Unprocessable"), BadInput, r"Unprocessable\.$"),
    Case("413", failing(413, None, "Too long"), BadInput, r"Too long\.$"),
    Case("no reason", failing(400, None, ""), BadInput, r"it gave no reason\.$"),
    Case("409", failing(409), ServiceFault, "could not take the request just now"),
    Case(
        "500",
        failing(500, "server_error", "Traceback in /srv/app/draw.py"),
        ServiceFault,
        r"failed: Traceback in \(path\)",
        charged=None,
    ),
    Case("502", failing(502), ServiceFault, "overloaded or down", charged=None),
    Case(
        "503",
        Script(status=503, raw=b"<html><h1>Unavailable</h1></html>", media_type="text/html"),
        ServiceFault,
        "overloaded or down",
        charged=None,
    ),
    Case("504", failing(504), Unanswered, "may have been billed", charged=None),
    Case(
        "html instead of JSON",
        plain(raw=b"<html>hello</html>", media_type="text/html"),
        ServiceFault,
        "cut short or is not JSON",
        charged=None,
    ),
    Case(
        "JSON that stops",
        plain(raw=b'{"data": [{"b64_json": "iVBORw0K'),
        ServiceFault,
        "cut short or is not JSON",
        charged=None,
    ),
    Case("nothing", plain(raw=b""), ServiceFault, "is not JSON", charged=None),
    Case("no text", plain(raw=b"\xff\xfe\x80{}"), ServiceFault, "is not JSON", charged=None),
    Case("no data", plain(raw=b"{}"), ServiceFault, "without a picture", charged=None),
    Case("empty data", plain(raw=b'{"data": []}'), ServiceFault, "without a", charged=None),
    Case("null data", plain(raw=b'{"data": null}'), ServiceFault, "without a", charged=None),
    Case("a list", plain(raw=b"[1, 2]"), ServiceFault, "without a picture", charged=None),
    Case(
        "an entry without a picture",
        plain(raw=b'{"data": [{"b64_json": null, "revised_prompt": "x"}]}'),
        ServiceFault,
        "without a picture",
        charged=None,
    ),
    Case(
        "a number for a picture",
        plain(raw=b'{"data": [{"b64_json": 5}]}'),
        ServiceFault,
        "without a picture",
        charged=None,
    ),
    Case(
        "bad base64",
        plain(raw=b'{"data": [{"b64_json": "abcde"}]}'),
        ServiceFault,
        "damaged picture",
        charged=None,
    ),
    Case("empty picture", plain(picture=b""), ServiceFault, "empty picture", charged=None),
    Case(
        "cut picture",
        plain(picture=pictures.noise()[:-20]),
        ServiceFault,
        "damaged or incomplete PNG",
        charged=None,
    ),
    Case(
        "cut picture in a stream",
        Script(picture=pictures.noise()[:-20], partial=pictures.plain()),
        ServiceFault,
        "damaged or incomplete PNG",
        charged=None,
    ),
    Case(
        "a hundred megapixels",
        plain(picture=pictures.bomb()),
        ServiceFault,
        "at most 64 megapixels",
        charged=None,
    ),
    Case("no picture", plain(picture=b"<svg/>"), ServiceFault, "not a PNG", charged=None),
    Case("cut at once", plain(cut=0), Unanswered, "connection was cut", charged=None),
    Case("cut in the body", plain(cut=5000), Unanswered, "connection was cut", charged=None),
    Case("cut in a stream", Script(cut=5000), Unanswered, "connection was cut", charged=None),
    Case(
        "a stream that ends early",
        Script(unfinished=True),
        Unanswered,
        "before the stream ended",
        charged=None,
    ),
    Case("cut among several", plain(cut=5000), Unanswered, "was cut", charged=None, count=2),
]
