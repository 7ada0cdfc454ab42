"""What real services do that is neither a plain success nor a fault, backend by backend.

A service sends fewer pictures than were asked for, a usage that counts nothing, a picture in
another form than the documented one, an error with the status of a success, or fails at what a job
does not need. `arrange` makes a harness's server do so; where a protocol cannot show a situation,
`IMPOSSIBLE` says why.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from tests.backends.harness import Harness
from tests.servers import (
    a1111,
    a1111_script,
    comfyui_script,
    craiyon,
    google,
    huggingface,
    openai,
    pictures,
    scripted,
    stability,
)
from tests.servers.comfyui import ComfyUIServer

REASON = "The lamp went out."
B64 = base64.b64encode(pictures.plain()).decode()
LINES = "\n".join(B64[start : start + 76] for start in range(0, len(B64), 76))


class Situation(StrEnum):
    """What the server does."""

    ONE_OF_TWO = "one of two pictures"
    ZERO_USAGE = "a usage of zeros"
    PARTIAL_USAGE = "a partial usage"
    HIDDEN_USAGE = "tokens that only the total counts"
    DATA_URL = "a data: address"
    PREFIX = "base64 with a prefix"
    LINE_BREAKS = "base64 with line breaks"
    ERROR_IN_A_SUCCESS = "an error inside a 200"
    COURTESIES_404 = "courtesies that answer 404"
    COURTESIES_500 = "courtesies that answer 500"
    COURTESIES_HTML = "courtesies that answer HTML"
    COURTESIES_NOTHING = "courtesies that answer nothing"


FORMS = (Situation.DATA_URL, Situation.PREFIX, Situation.LINE_BREAKS)
COURTESIES: Mapping[Situation, Mapping[str, Any]] = {
    Situation.COURTESIES_404: {"status": 404, "raw": b"Not Found", "media_type": "text/plain"},
    Situation.COURTESIES_500: {"status": 500, "raw": b'{"error": "no"}'},
    Situation.COURTESIES_HTML: {"raw": b"<html>hello</html>", "media_type": "text/html"},
    Situation.COURTESIES_NOTHING: {"raw": b""},
}

_NO_COURTESIES = "It is asked for nothing but pictures."
_NO_TOKENS = "It counts no tokens."
_NO_BASE64 = "It sends addresses, no base64."
_NO_ADDRESSES = "It sends base64, no addresses."
IMPOSSIBLE: Mapping[str, Mapping[Situation, str]] = {
    "a1111": {
        Situation.ZERO_USAGE: _NO_TOKENS,
        Situation.PARTIAL_USAGE: _NO_TOKENS,
        Situation.HIDDEN_USAGE: _NO_TOKENS,
        Situation.DATA_URL: _NO_ADDRESSES,
    },
    "openai": dict.fromkeys(COURTESIES, _NO_COURTESIES),
    "google": {**dict.fromkeys(COURTESIES, _NO_COURTESIES), Situation.DATA_URL: _NO_ADDRESSES},
    "huggingface": {
        **dict.fromkeys(COURTESIES, "The Hub says who draws: nothing can be sent without it."),
        Situation.ZERO_USAGE: _NO_TOKENS,
        Situation.PARTIAL_USAGE: _NO_TOKENS,
        Situation.HIDDEN_USAGE: _NO_TOKENS,
    },
    "stability": {
        Situation.DATA_URL: _NO_ADDRESSES,
        Situation.PARTIAL_USAGE: _NO_TOKENS,
        Situation.HIDDEN_USAGE: _NO_TOKENS,
    },
    "craiyon": {
        **dict.fromkeys(COURTESIES, _NO_COURTESIES),
        **dict.fromkeys(FORMS, "Pictures are fetched from its own address only."),
        Situation.ZERO_USAGE: _NO_TOKENS,
        Situation.PARTIAL_USAGE: _NO_TOKENS,
        Situation.HIDDEN_USAGE: _NO_TOKENS,
    },
    "comfyui": {
        **dict.fromkeys(FORMS, "Its pictures are files."),
        Situation.ZERO_USAGE: _NO_TOKENS,
        Situation.PARTIAL_USAGE: _NO_TOKENS,
        Situation.HIDDEN_USAGE: _NO_TOKENS,
    },
}


def arrange(name: str, harness: Harness, situation: Situation) -> None:
    """Make the server of the backend `name` do this from now on."""
    _ARRANGE[name](harness.server, situation)


def _openai(server: openai.OpenAIServer, situation: Situation) -> None:
    one = {"b64_json": B64}
    counted = {"input_tokens": 12, "output_tokens": 196}
    entries: Mapping[Situation, list[Any]] = {
        Situation.ONE_OF_TWO: [one, {"b64_json": None, "error": {"message": REASON}}],
        Situation.DATA_URL: [{"url": f"data:image/png;base64,{B64}"}],
        Situation.PREFIX: [{"b64_json": f"data:image/png;base64,{B64}"}],
        Situation.LINE_BREAKS: [{"b64_json": LINES}],
        Situation.ERROR_IN_A_SUCCESS: [],
    }
    usage: Mapping[Situation, Mapping[str, int]] = {
        Situation.ZERO_USAGE: dict.fromkeys(counted, 0),
        Situation.PARTIAL_USAGE: {"input_tokens": 12},
        Situation.HIDDEN_USAGE: {**counted, "total_tokens": 240},
    }
    answer: dict[str, Any] = {
        "created": 1,
        "data": entries.get(situation, [one]),
        "usage": usage.get(situation, counted),
    }
    if situation is Situation.ERROR_IN_A_SUCCESS:
        answer = {"error": {"message": REASON, "code": None}}
    server.usual = openai.Script(stream=False, raw=json.dumps(answer).encode())


def _google(server: google.GoogleServer, situation: Situation) -> None:
    def part(data: str) -> dict[str, Any]:
        return {"inlineData": {"mimeType": "image/png", "data": data}}

    scripts: Mapping[Situation, google.Script] = {
        Situation.ONE_OF_TWO: google.Script(parts=(), finish="IMAGE_SAFETY"),
        Situation.ZERO_USAGE: google.Script(usage=dict.fromkeys(google.USAGE, 0)),
        Situation.PARTIAL_USAGE: google.Script(usage={"promptTokenCount": 12}),
        Situation.HIDDEN_USAGE: google.Script(usage={**google.USAGE, "totalTokenCount": 1322}),
        Situation.PREFIX: google.Script(parts=(part(f"data:image/png;base64,{B64}"),)),
        Situation.LINE_BREAKS: google.Script(parts=(part(LINES),)),
        Situation.ERROR_IN_A_SUCCESS: google.Script(
            raw=json.dumps({"error": {"code": 500, "message": REASON}}).encode()
        ),
    }
    if situation is Situation.ONE_OF_TWO:
        server.queue.append(scripts[situation])
    else:
        server.usual = scripts[situation]


def _huggingface(server: huggingface.HuggingFaceServer, situation: Situation) -> None:
    def fal(url: str) -> huggingface.Script:
        return huggingface.Script(raw=json.dumps({"images": [{"url": url}]}).encode())

    match situation:
        case Situation.ONE_OF_TWO:
            server.queue.append(huggingface.Script(picture_status=404))
        case Situation.DATA_URL:
            server.usual = fal(f"data:image/png;base64,{B64}")
        case Situation.PREFIX:
            server.usual = fal(f"data:;base64,{B64}")
        case Situation.LINE_BREAKS:
            server.usual = fal(f"data:image/png;base64,{LINES}")
        case _:
            server.usual = huggingface.Script(raw=json.dumps({"error": REASON}).encode())


def _stability(server: stability.StabilityServer, situation: Situation) -> None:
    answers: Mapping[Situation, Mapping[str, Any]] = {
        Situation.PREFIX: {"image": f"data:image/png;base64,{B64}", "finish_reason": "SUCCESS"},
        Situation.LINE_BREAKS: {"image": LINES, "finish_reason": "SUCCESS"},
        Situation.ERROR_IN_A_SUCCESS: {"id": "a1", "name": "internal", "errors": [REASON]},
    }
    if situation in COURTESIES:
        server.balances = scripted.Script(**COURTESIES[situation])
    elif situation is Situation.ONE_OF_TWO:
        server.queue.append(stability.Script(finish=stability.FILTERED))
    elif situation is Situation.ZERO_USAGE:
        server.balances = scripted.Script(raw=b'{"credits": 100}')
    else:
        server.usual = stability.Script(raw=json.dumps(answers[situation]).encode())


def _craiyon(server: craiyon.CraiyonServer, situation: Situation) -> None:
    if situation is Situation.ONE_OF_TWO:
        server.usual = replace(server.usual, gone=frozenset(range(2, 10)))
    else:
        server.usual = craiyon.Script(raw=json.dumps({"error": REASON}).encode())


_A1111_COURTESIES = (
    "/sdapi/v1/progress",
    "/internal/progress",
    "/sdapi/v1/options",
    "/sdapi/v1/samplers",
    "/sdapi/v1/schedulers",
    "/sdapi/v1/loras",
)


def _a1111(server: a1111.A1111Server, situation: Situation) -> None:
    images: Mapping[Situation, str] = {
        Situation.PREFIX: f"data:image/png;base64,{B64}",
        Situation.LINE_BREAKS: LINES,
    }
    if situation in COURTESIES:
        broken = a1111_script.Script(**COURTESIES[situation])
        server.kind = replace(server.kind, broken=dict.fromkeys(_A1111_COURTESIES, broken))
    elif situation is Situation.ONE_OF_TWO:
        server.usual = a1111_script.Script(fewer=1)
    elif situation is Situation.ERROR_IN_A_SUCCESS:
        server.usual = a1111_script.json_script({"detail": REASON}, 200)
    else:
        answer = {"images": [images[situation]], "parameters": {}, "info": "{}"}
        server.usual = a1111_script.json_script(answer, 200)


def _comfyui(server: ComfyUIServer, situation: Situation) -> None:
    if situation in COURTESIES:
        broken = comfyui_script.Script(**COURTESIES[situation])
        server.odd = dict.fromkeys(("/queue", "/models", "/object_info", "/history"), broken)
    elif situation is Situation.ONE_OF_TWO:
        whole = comfyui_script.Script(raw=pictures.plain())
        server.views = [whole, comfyui_script.Script(status=404, raw=b"")]
    else:
        raw = json.dumps({"error": {"message": REASON, "details": ""}}).encode()
        server.usual = comfyui_script.Script(raw=raw)


_ARRANGE: Mapping[str, Callable[[Any, Situation], None]] = {
    "a1111": _a1111,
    "comfyui": _comfyui,
    "craiyon": _craiyon,
    "google": _google,
    "huggingface": _huggingface,
    "openai": _openai,
    "stability": _stability,
}
