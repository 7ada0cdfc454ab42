"""Errors of a ComfyUI server: rejected workflows, failed prompts, addresses of something else."""

from dataclasses import replace

import pytest

from backends.base import Request, Sending
from backends.errors import BackendError, BadInput, NotReady, OutOfMemory, ServiceFault, TimedOut
from tests.backends.comfyui.case import ASK, MODEL, backend, events
from tests.servers.comfyui import ComfyUIServer, failing
from tests.servers.comfyui_script import Script


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            replace(ASK, options={"comfyui": {"sampler": "euler_b"}}),
            "KSampler (node 5) does not take “euler_b” for sampler_name; "
            "it takes euler, dpmpp_2m, ddim.",
        ),
        (
            replace(ASK, num_inference_steps=10_001),
            "KSampler (node 5) does not take 10001 for steps, at most 10000.",
        ),
    ],
)
async def test_a_refused_workflow_is_told_in_words(request_: Request, words: str) -> None:
    with ComfyUIServer() as server, pytest.raises(BadInput) as caught:
        await events(server, request_)
    assert words in str(caught.value)
    assert server.jobs == []
    assert len(server.asked("/queue")) == 1, "nothing is looked for that was never taken"


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (
            {"exception_type": "RuntimeError", "exception_message": "NaNs in /srv/comfy/nodes.py"},
            ServiceFault,
            "failed in KSampler (node 5): NaNs in (path).",
        ),
        (
            {"exception_type": "torch.OutOfMemoryError", "exception_message": "Tried to allocate"},
            OutOfMemory,
            "not enough graphics memory for KSampler",
        ),
        ({"exception_message": "Allocation on device"}, OutOfMemory, "--lowvram"),
        ({}, ServiceFault, "it gave no reason."),
    ],
)
async def test_what_failed_on_the_server_is_told_in_words(
    fault: dict[str, str], kind: type[BackendError], words: str
) -> None:
    with ComfyUIServer(Script(fault=fault)) as server, pytest.raises(kind) as caught:
        await events(server)
    assert words in str(caught.value)
    assert server.asked("/interrupt") == [], "what has ended by itself is not stopped"


@pytest.mark.parametrize(
    ("everything", "kind", "words"),
    [
        (Script(raw=b"<html>Gradio</html>", media_type="text/html"), ServiceFault, "COMFYUI_URL"),
        (failing(404), NotReady, "is no ComfyUI server"),
        (Script(status=307, raw=b"", headers={"Location": "/x"}), NotReady, "moved"),
        (Script(hang=True), TimedOut, "Nothing was sent"),
        (Script(raw=b'{"queue_running": []}', cut=4), TimedOut, "Nothing was sent"),
    ],
)
async def test_an_address_of_something_else_is_found_out_before_anything_is_sent(
    everything: Script, kind: type[BackendError], words: str
) -> None:
    with ComfyUIServer() as server:
        server.everything = everything
        drawer = backend(server.origin, LINEUP_ANSWER_SECONDS="0.5")
        with pytest.raises(kind) as caught:
            async for event in drawer.generate(MODEL, ASK):
                assert not isinstance(event, Sending)
        await drawer.aclose()
    assert words in str(caught.value)
    assert server.asked("/prompt") == []
