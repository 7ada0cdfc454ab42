"""What the server refuses before anything else sees it, over a real socket."""

import http.client
import json
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.app.visitor import Visitor

CLOSED = (
    "/monitoring",
    "/monitoring/summary",
    "/monitoring/x/dashboard",
    "/docs",
    "/openapi.json",
    "/redoc",
    "/login",
    "/logout",
    "/?deep_link=0123456789abcdef",
    "/gradio_api/deep_link?session_hash=x",
    "/gradio_api/openapi.json",
    "/gradio_api/runs",
    "/gradio_api/run-history/records",
    "/gradio_api/dev/reload",
    "/gradio_api/vibe-code",
    "/gradio_api/profiling/summary",
    "/gradio_api/mcp/",
    "/gradio_api/mcp/schema",
    "/gradio_api/proxy=https://example.hf.space/",
    "/gradio_api/file=http://127.0.0.1:1/",
    "/gradio_api/file=https://example.org/picture.png",
    "/gradio_api/file/etc/passwd",
    "/gradio_api/stream/a/b/c/playlist.m3u8",
    "/gradio_api/user",
    "/gradio_api/token",
    "/gradio_api/app_id",
    "/lineup/pictures/..%2f..%2flineup.db",
)


@pytest.mark.parametrize("path", CLOSED)
def test_what_the_page_does_not_use_is_not_there(address: str, path: str) -> None:
    answer = httpx2.get(address + path)
    assert answer.status_code == 404
    assert "There is no such" in answer.text or "Not Found" in answer.text


@pytest.mark.parametrize(
    "path",
    ["api/compare", "call/compare", "call/v2/compare", "vibe-edit", "process_recording", "login"],
)
def test_no_other_way_into_a_handler_is_open(address: str, path: str) -> None:
    assert httpx2.post(f"{address}/gradio_api/{path}", json={"data": []}).status_code == 404


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "app.py", "/proc/self/environ", "../../etc/passwd", "{home}/lineup.db"]
)
def test_files_of_the_server_are_not_served(address: str, path: str) -> None:
    answer = httpx2.get(f"{address}/gradio_api/file={path}")
    assert answer.status_code in (403, 404)


def test_every_answer_tells_the_browser_what_it_may_load(address: str) -> None:
    for path in ("/", "/lineup/pictures/0.png", "/gradio_api/nothing"):
        headers = httpx2.get(address + path).headers
        assert "connect-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_a_foreign_name_for_this_address_is_refused(address: str) -> None:
    answer = httpx2.get(address, headers={"Host": "rebound.example"})
    assert answer.status_code == 403 and "LINEUP_HOSTS" in answer.text
    port = urlsplit(address).port
    for host in (f"localhost:{port}", f"[::1]:{port}", f"127.0.0.1:{port}"):
        assert httpx2.get(address, headers={"Host": host}).status_code == 200


def test_the_name_that_a_proxy_serves_is_answered(public: str) -> None:
    assert httpx2.get(public, headers={"Host": "lineup.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "null"},
    ],
    ids=str,
)
def test_a_page_of_another_site_starts_and_reads_nothing(
    address: str, headers: dict[str, str]
) -> None:
    for path in ("gradio_api/run/predict", "lineup/runs/a/jobs/a-0/picture", "gradio_api/upload"):
        answer = httpx2.post(f"{address}/{path}", json={"data": []}, headers=headers)
        assert answer.status_code == 403 and "another site" in answer.text
    assert httpx2.get(f"{address}/config", headers=headers).status_code == 403


def test_a_link_from_another_site_opens_the_page(address: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert httpx2.get(address, headers=headers).status_code == 200


def test_a_body_is_refused_by_its_length_before_it_is_read(address: str) -> None:
    parts = urlsplit(address)
    for path, length, words in (
        ("/gradio_api/run/predict", 1_000_001, "1 MB"),
        ("/gradio_api/queue/join", 40_000_000, "1 MB"),
        ("/gradio_api/cancel", 5_000_000, "1 MB"),
        ("/gradio_api/upload", 60_000_000, "50 MB"),
        ("/lineup/runs/a/jobs/a-0/picture", 60_000_000, "50 MB"),
    ):
        assert parts.hostname
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(length))
        connection.endheaders(b"{")
        answer = connection.getresponse()
        assert answer.status == 413 and words in answer.read().decode()
        connection.close()


def test_a_body_without_a_length_is_refused(address: str) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 10_000

    url = f"{address}/gradio_api/run/predict"
    with suppress(httpx2.WriteError):  # where the server has closed the connection meanwhile
        assert httpx2.post(url, content=endless()).status_code == 411


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["x" * 40_001], "40,000 is the most"),
        ([[[["x" * 40_001]]]], "40,000 is the most"),
        ([{"a": "x" * 40_001}], "40,000 is the most"),
        ([list(range(10_001))], "10,000 values"),
        ([["miniature/diffusion"] * 20_000], "10,000 values"),
        ([{"path": "http://127.0.0.1/", "meta": {"_type": "gradio.FileData"}}], "uploaded here"),
    ],
    ids=["text", "nested", "mapping", "numbers", "models", "address"],
)
def test_values_that_no_field_can_hold_are_a_sentence(
    loopback: str, data: list[object], words: str
) -> None:
    answer = Visitor(loopback).post("compare", data)
    assert answer.status_code in (413, 422) and words in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 900_000, b"\xff", b'{"data": 1}', b"null"])
def test_a_body_that_is_no_event_is_a_sentence(loopback: str, body: bytes) -> None:
    answer = httpx2.post(f"{loopback}/gradio_api/run/predict", content=body)
    assert answer.status_code == 422
    assert "Traceback" not in answer.text and json.loads(answer.text)


@pytest.mark.parametrize("index", [-1, 10_000, "x", None, 2**70, [], 1.5])
def test_an_unknown_handler_is_a_sentence(loopback: str, index: object) -> None:
    visitor = Visitor(loopback)
    body = {"data": [], "fn_index": index, "session_hash": visitor.session}
    answer = visitor.http.post("/gradio_api/run/predict", json=body)
    assert 400 <= answer.status_code < 501 and "Traceback" not in answer.text
    assert visitor.call("compare", Prompt="").status_code == 200
