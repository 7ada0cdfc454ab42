"""Errors of an A1111 server, and addresses of something else."""

import pytest

from backends.a1111 import client, progress
from backends.base import Sending
from backends.errors import BackendError, BadInput, NotReady, OutOfMemory, ServiceFault, TimedOut
from tests.backends.a1111.case import ASK, MODEL, backend, events
from tests.servers.a1111 import A1111Server, failing
from tests.servers.a1111_script import Script


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        (failing(500, error="OutOfMemoryError", errors="CUDA out of memory."), OutOfMemory, "med"),
        (failing(422, "Script 'x' not found"), BadInput, "Script 'x' not found."),
        (failing(404, "Not Found"), NotReady, "--api"),
        (Script(status=307, raw=b"{}", headers={"Location": "/x"}), NotReady, "moved"),
        (Script(status=500, raw=b"Internal Server Error"), ServiceFault, "it gave no reason."),
        (failing(500, errors="No /home/me/models/x.pt there"), ServiceFault, "No (path) there."),
    ],
)
async def test_what_the_server_says_becomes_a_sentence(
    script: Script, kind: type[BackendError], words: str
) -> None:
    with A1111Server(script) as server, pytest.raises(kind) as caught:
        await events(server)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("everything", "kind", "words"),
    [
        (Script(raw=b"<html>Gradio</html>", media_type="text/html"), ServiceFault, "A1111_URL"),
        (failing(404, "Not Found"), NotReady, "Start it with --api"),
        (Script(hang=True), TimedOut, "Nothing was sent"),
        (Script(raw=b'{"state": 1}', cut=4), TimedOut, "Nothing was sent"),
    ],
)
@pytest.mark.parametrize("seconds", ["0.2", "600"], ids=["Lineup's limit", "a look's limit"])
async def test_an_address_of_something_else_is_found_out_before_anything_is_sent(
    everything: Script,
    kind: type[BackendError],
    words: str,
    seconds: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (client, progress):
        monkeypatch.setattr(module, "COURTESY_SECONDS", 0.3)
    with A1111Server() as server:
        server.everything = everything
        drawer = backend(server.origin, LINEUP_ANSWER_SECONDS=seconds)
        with pytest.raises(kind) as caught:
            async for event in drawer.generate(MODEL, ASK):
                assert not isinstance(event, Sending)
        await drawer.aclose()
    assert words in str(caught.value)
    assert server.generations == []
