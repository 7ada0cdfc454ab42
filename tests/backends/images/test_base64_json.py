"""A whole picture in a JSON answer is found, in whatever form and field it comes."""

import base64
import json
from typing import Any

import pytest

from backends.base import Picture
from backends.errors import ServiceFault
from backends.images.base64_json import Answer, decode_base64, parse_pictures
from tests.servers.pictures import plain

DATA = plain(32, 32)
B64 = base64.b64encode(DATA).decode()
URL = "https://pictures.example/a.png"
WRAPPED = "\n".join(B64[start : start + 76] for start in range(0, len(B64), 76))


def parse(answer: Any) -> Answer:
    return parse_pictures(json.dumps(answer).encode())


def of(*entries: Any) -> dict[str, Any]:
    return {"created": 1, "data": list(entries)}


@pytest.mark.parametrize(
    "answer",
    [
        of({"b64_json": B64}),
        of({"b64_json": f"data:image/png;base64,{B64}"}),
        of({"b64_json": f"data:;base64,{B64}"}),
        of({"b64_json": WRAPPED}),
        of({"b64_json": WRAPPED.replace("\n", "\r\n") + "\n"}),
        of({"b64_json": f"  {B64}"}),
        of({"b64_json": B64.rstrip("=")}),
        of({"b64_json": B64.replace("+", "-").replace("/", "_")}),
        of({"b64_json": B64, "url": URL}),
        of({"url": None, "b64_json": B64}),
        of({"image_base64": B64}),
        of({"image": {"data": B64, "mime_type": "image/png"}}),
        of(B64),
        {"images": [B64]},
        {"images": [{"base64": f"data:image/png;base64,{B64}"}]},
        {"artifacts": [{"base64": B64, "finishReason": "SUCCESS"}]},
        {"result": {"output": {"image": B64}}},
        {"b64_json": B64, "type": "done"},
        {"data": [], "images": [B64]},
        {"data": {"b64_json": B64}},
        [{"b64_json": B64}],
    ],
    ids=lambda answer: str(answer)[:60].replace(B64[:20], "..."),
)
def test_the_bytes_are_found(answer: Any) -> None:
    found = parse(answer)
    assert [picture.data for picture in found.pictures if isinstance(picture, Picture)] == [DATA]
    assert len(found.pictures) == 1 and not found.losses


def test_slashes_may_be_escaped_and_the_body_may_be_the_picture() -> None:
    escaped = json.dumps(of({"b64_json": B64})).replace("/", "\\/").encode()
    for body in (escaped, DATA):
        (picture,) = parse_pictures(body).pictures
        assert isinstance(picture, Picture) and picture.data == DATA


@pytest.mark.parametrize(
    "answer",
    [
        of({"url": URL}),
        of({"b64_json": "", "url": URL}),
        of({"b64_json": None, "url": URL}),
        of({"b64_json": "AAAA", "url": URL}),
        of({"b64_json": B64[:100], "url": URL}),
        of({"image_url": {"url": URL}}),
        of(URL),
        {"images": [URL]},
        {"images": [{"url": URL, "content_type": "image/png"}]},
        {"output": URL},
    ],
)
def test_an_address_stands_in_where_there_are_no_whole_bytes(answer: Any) -> None:
    assert parse(answer).pictures == (URL,)


def test_an_echo_of_the_request_is_not_the_result() -> None:
    other = base64.b64encode(plain(16, 16)).decode()
    found = parse({"parameters": {"image": other}, "data": [{"b64_json": B64}]})
    assert [p.data for p in found.pictures if isinstance(p, Picture)] == [DATA]


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"b64_json": None, "url": None}, "without a picture"),
        ({}, "without a picture"),
        (None, "without a picture"),
        ({"b64_json": B64[:100]}, "damaged or incomplete PNG"),
        ({"b64_json": ""}, "empty picture"),
        ({"b64_json": "bm8gcGljdHVyZQ=="}, "not a PNG"),
        ({"error": {"message": "It was filtered."}}, "It was filtered"),
        ({"finish_reason": "CONTENT_FILTERED"}, "content filtered"),
    ],
)
def test_one_that_is_missing_leaves_the_others(missing: Any, reason: str) -> None:
    found = parse(of({"b64_json": B64}, missing, {"b64_json": B64}))
    assert len(found.pictures) == 2
    (loss,) = found.losses
    assert reason in str(loss)


@pytest.mark.parametrize("answer", [{}, of(), {"data": None}, [], {"error": {"url": URL}}, "x", 7])
def test_an_answer_without_a_picture(answer: Any) -> None:
    found = parse(answer)
    assert not found.pictures
    with pytest.raises(ServiceFault, match="without a picture"):
        found.require()


def test_what_is_no_base64() -> None:
    with pytest.raises(ServiceFault, match="damaged"):
        decode_base64("abcde")
