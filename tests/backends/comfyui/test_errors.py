"""Errors of a ComfyUI server: rejected workflows, failed prompts, addresses of something else."""

import json
from dataclasses import replace

import pytest

from backends.base import Request, Sending
from backends.comfyui.errors import rejection_reason
from backends.errors import BackendError, BadInput, NotReady, OutOfMemory, ServiceFault, TimedOut
from backends.wording import service_message
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


def error_of(input: str, value: object, choices: list[str] | int) -> dict[str, object]:
    """Return an error for a value that is not in a list, of which a long one is not sent."""
    listed = f"(list of length {choices})" if isinstance(choices, int) else str(choices)
    about = {"input_name": input, "received_value": value}
    config = None if isinstance(choices, int) else [choices, {}]
    return {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": f"{input}: {value!r} not in {listed}",
        "extra_info": {**about, "input_config": config},
    }


@pytest.mark.parametrize(
    ("errors", "named", "words"),
    [
        ([error_of("lora", "a" * 400, ["b" * 400] * 9)], 1, " more."),
        ([error_of("ckpt_name", f"m{n}.ckpt", 300) for n in range(12)], 2, "; and 10 more."),
        ([error_of("model", "x" * 60, ["y" * 30] * 20) for _ in range(5)], 1, "; and 4 more."),
        ([error_of("i" * 99, "x" * 99, ["y" * 39] * 9)] * 200, 1, "; and 199 more."),
        ([error_of("image", "x.png", 1234)], 1, "; it takes one of 1234 others."),
    ],
)
def test_what_is_not_named_is_counted(
    errors: list[dict[str, object]], named: int, words: str
) -> None:
    nodes = {
        str(number): {"class_type": "Loader" * 20, "errors": [error], "dependent_outputs": []}
        for number, error in enumerate(errors)
    }
    message = service_message(rejection_reason({"error": {}, "node_errors": nodes}))
    assert message.endswith(words)
    assert len(message) < 300 and message.count("does not take") == named


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": {"message": "Prompt has no outputs", "details": ""}}, "Prompt has no outputs."),
        ({"error": "out of credits"}, "out of credits."),
        ({"error": {}, "node_errors": {"5": {}}}, "node 5 has a fault."),
    ],
)
async def test_a_rejection_with_the_status_200(answer: dict[str, object], words: str) -> None:
    with ComfyUIServer(Script(raw=json.dumps(answer).encode())) as server:
        with pytest.raises(BadInput) as caught:
            await events(server)
        assert server.asked("/interrupt") == []
    assert str(caught.value).endswith(f"does not take the workflow: {words}")


UUID = "6b2b39a2-8d1c-4d0e-9e42-1f4f8a6f6f0b"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"message": "Cannot execute because node Fancy does not exist."}, "no node Fancy. Inst"),
        ({"message": "Node 'Fancy (KJ)' not found."}, "it has no node Fancy (KJ). Install"),
        ({"message": "Cannot execute because a node is missing the class_type property."}, "class"),
        (
            {
                "type": "missing_node_type",
                "message": "Node 'mine' has no class_type. The workflow may be corrupted.",
                "extra_info": {"class_type": None, "node_title": "mine"},
            },
            "the node “mine” has no class. Export the workflow",
        ),
        (
            {
                "type": "missing_node_type",
                "message": f"Node '{UUID}' not found.",
                "extra_info": {"class_type": UUID},
            },
            "a group of nodes was exported as one node. Unpack it",
        ),
        ({"message": "Node type 'workflow>Twice' not found"}, "exported as one node"),
    ],
)
def test_a_missing_node_in_any_servers_words(error: dict[str, object], words: str) -> None:
    assert words in rejection_reason({"error": {"details": "", **error}, "node_errors": {}})


@pytest.mark.parametrize("path", ["/comfy", "/api/comfy", "/a/b"])
async def test_a_wrong_path_in_the_address_is_shown(path: str) -> None:
    with ComfyUIServer() as server:
        drawer = backend(server.origin + path)
        with pytest.raises(NotReady) as caught:
            await drawer.check()
        await drawer.aclose()
    assert f"127.0.0.1:{server.port}{path} is no ComfyUI server" in str(caught.value)
    assert "its path as well" in str(caught.value)
