"""Progress of a prompt on a ComfyUI server: steps, previews, the cache, the time of loading."""

from dataclasses import replace

import pytest

from backends.base import Loading, Progress
from backends.comfyui.progress import PromptProgress
from backends.images.validation import dimensions
from tests.backends.comfyui.case import ASK, events, of, pictures_of, receipt_of
from tests.servers.comfyui import ComfyUIServer
from tests.servers.comfyui_script import Kind, Script

KINDS = [
    pytest.param(Kind(), id="new"),
    pytest.param(Kind(targeted=False), id="untargeted"),
    pytest.param(Kind(targeted=False, ids=False, lists=False, stamps=False), id="old"),
]


@pytest.mark.parametrize("states_only", [False, True])
async def test_steps_and_looks_come_while_it_is_drawn(states_only: bool) -> None:
    with ComfyUIServer(Script(delay=1), Kind(states_only=states_only)) as server:
        got = await events(server)
    steps = [event.step for event in of(Progress, got) if event.step is not None]
    assert steps == list(range(1, 21))
    assert {event.steps for event in of(Progress, got) if event.steps} == {20}
    looks = [event.preview for event in of(Progress, got) if event.preview]
    assert looks
    assert all(dimensions(look.data)[2] == look.media_type == "image/jpeg" for look in looks)
    assert [event.message for event in of(Loading, got)] == ["CheckpointLoaderSimple"]
    assert len(pictures_of(got)) == 1, "a look is no result"


async def test_the_steps_of_several_pictures_are_counted_together() -> None:
    with ComfyUIServer(Script(delay=0.4)) as server:
        got = await events(server, replace(ASK, count=2))
    steps = [(event.step, event.steps) for event in of(Progress, got) if event.step is not None]
    assert steps == [(step, 40) for step in range(1, 41)]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cached_picture_is_marked(kind: Kind) -> None:
    with ComfyUIServer(kind=kind) as server:
        first = await events(server)
        again = await events(server)
        other = await events(server, replace(ASK, seed=8))
    assert [receipt_of(got).cached for got in (first, again, other)] == [False, True, False]
    note = receipt_of(again).honoured["cache"].note
    assert note == "cached by the server: the time says nothing about its speed"
    assert pictures_of(again)[0].data == pictures_of(first)[0].data


async def test_some_cached_pictures_are_counted() -> None:
    with ComfyUIServer() as server:
        await events(server)
        got = await events(server, replace(ASK, count=2))
    assert "for 1 of 2 pictures" in receipt_of(got).honoured["cache"].note


def test_what_is_heard_late_is_shared_out_as_it_was_heard() -> None:
    ticks = iter((10.0, 12.0, 14.0))
    graph = {"1": {"class_type": "CheckpointLoaderSimple"}, "2": {"class_type": "KSampler"}}
    story = PromptProgress("a", graph, "mine", clock=lambda: next(ticks))
    story.handle_message("execution_start", {"timestamp": 1000})
    for node in ("1", "2"):
        story.handle_message("executing", {"node": node})
    story.handle_message("execution_success", {"timestamp": 2000})
    assert story.execution_seconds == 1.0
    assert story.load_seconds == 0.5, (
        "the two seconds that it seemed to take are more than there were"
    )


@pytest.mark.parametrize(
    "data",
    [
        {"value": float("nan"), "max": 20},
        {"value": 1, "max": float("inf")},
        {"value": "3", "max": "20"},
        {"value": True, "max": 20},
        {"value": None},
        {"nodes": [1]},
        {"nodes": {"1": {"state": "running", "value": [], "max": {}}}},
    ],
)
@pytest.mark.parametrize("kind", ["progress", "progress_state"])
def test_a_step_that_makes_no_sense_is_no_event(kind: str, data: dict[str, object]) -> None:
    assert PromptProgress("a", {}, "mine").handle_message(kind, data) is None


@pytest.mark.parametrize(
    "status", [None, "success", [], {"messages": {}}, {"messages": [1, [], ["x"], ["y", "z"]]}]
)
def test_a_history_that_says_little_has_the_outputs(status: object) -> None:
    progress = PromptProgress("a", {"9": {"class_type": "SaveImage", "inputs": {}}}, "mine")
    image = {"filename": "a.png"}
    progress.handle_history({"status": status, "outputs": {"9": {"images": [image]}}})
    assert progress.is_done and progress.outputs == {"9": {"images": [image]}}
