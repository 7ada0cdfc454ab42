"""Jobs of the ComfyUI backend in time: steps, looks, queues, lost sockets, stopping, the cache."""

import asyncio

import pytest

from backends.base import Event, Progress, Queued
from backends.errors import ServiceFault, Unanswered
from tests.backends.comfyui.case import (
    ASK,
    MODEL,
    backend,
    cancel_when,
    events,
    of,
    pictures_of,
    receipt_of,
)
from tests.servers.comfyui import ComfyUIServer, failing
from tests.servers.comfyui_script import Kind, Script

KINDS = [
    pytest.param(Kind(), id="new"),
    pytest.param(Kind(targeted=False), id="untargeted"),
    pytest.param(Kind(targeted=False, ids=False, lists=False, stamps=False), id="old"),
]


async def test_a_wait_behind_others_is_shown_and_not_counted() -> None:
    with ComfyUIServer() as server:
        await asyncio.to_thread(server.put, 2)  # a busy machine is slow to post ours
        await asyncio.to_thread(server.put, 0.5)
        got = await events(server)
    assert [event.message for event in of(Queued, got)] == [
        "behind 2 other jobs on the server",
        "behind 1 other job on the server",
    ]
    stamps = {kind: data["timestamp"] for kind, data in server.jobs[2].messages}
    taken = (stamps["execution_success"] - stamps["execution_start"]) / 1000
    receipt = receipt_of(got)
    assert (receipt.generate or 0.0) + (receipt.load or 0.0) == pytest.approx(taken)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_socket_that_drops_loses_nothing(kind: Kind) -> None:
    with ComfyUIServer(Script(delay=2, drop=5), kind) as server:
        got = await events(server)
        assert server.opened == 2
    steps = [event.step for event in of(Progress, got) if event.step is not None]
    assert steps[-1] > 5, "the new socket hears the rest"
    assert len(pictures_of(got)) == 1
    assert len(server.asked("/prompt")) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_that_ended_unheard_is_found_in_the_history(kind: Kind) -> None:
    with ComfyUIServer(Script(delay=0.5, drop=5), kind) as server:
        drawer = backend(server.origin)
        got: list[Event] = []
        async for event in drawer.generate(MODEL, ASK):
            got.append(event)
            server.deaf = True  # nobody is let in after the first socket
        await drawer.aclose()
        assert server.opened == 1
    assert len(server.asked("/prompt")) == 1
    assert len(server.asked("/view")) == 1
    assert (receipt_of(got).generate is not None) is kind.stamps


async def test_what_knows_no_websockets_is_no_obstacle() -> None:
    with ComfyUIServer(Script(delay=0.3), Kind(sockets=False)) as server:
        got = await events(server)
    assert len(pictures_of(got)) == 1
    assert pictures_of(got)[0].seed == 7


async def test_a_failure_that_was_not_heard_is_told_all_the_same() -> None:
    fault = {"exception_message": "A tensor with NaNs was made."}
    with (
        ComfyUIServer(Script(fault=fault), Kind(sockets=False)) as server,
        pytest.raises(ServiceFault, match="A tensor with NaNs was made"),
    ):
        await events(server)


async def test_a_prompt_that_the_server_forgot_is_told() -> None:
    with (
        ComfyUIServer(Script(leave=2), Kind(sockets=False)) as server,
        pytest.raises(ServiceFault, match="no longer knows of this job"),
    ):
        await events(server)
    assert len(server.asked("/prompt")) == 1


async def test_a_job_that_somebody_interrupts_is_told() -> None:
    with ComfyUIServer(Script(delay=6)) as server:
        drawer = backend(server.origin)
        with pytest.raises(ServiceFault, match="Somebody stopped this job"):
            async for event in drawer.generate(MODEL, ASK):
                if isinstance(event, Progress) and event.step:
                    server.jobs[0].interrupted = True
        await drawer.aclose()


async def test_a_server_that_says_nothing_for_too_long_is_given_up_and_stopped() -> None:
    with ComfyUIServer(Script(delay=600)) as server:
        with pytest.raises(Unanswered) as caught:
            await events(server, LINEUP_ANSWER_SECONDS="1")
        assert server.jobs[0].interrupted
    assert "billed" not in str(caught.value)


async def test_a_server_that_goes_away_is_given_up_without_a_second_prompt() -> None:
    with ComfyUIServer(Script(delay=20, drop=1)) as server:
        drawer = backend(server.origin, LINEUP_ANSWER_SECONDS="1.5")
        with pytest.raises(Unanswered, match="It may be drawing still"):
            async for event in drawer.generate(MODEL, ASK):
                if isinstance(event, Progress):
                    server.deaf, server.everything = True, failing(503)
        await drawer.aclose()
        assert len(server.asked("/prompt")) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_interrupts_the_running_job(kind: Kind) -> None:
    with ComfyUIServer(Script(delay=60), kind) as server:
        await cancel_when(backend(server.origin), lambda: _begun(server))
        (received,) = server.asked("/interrupt")
        assert received.json == {"prompt_id": server.jobs[0].id}
        assert server.jobs[0].interrupted


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_a_waiting_job_leaves_the_running_one_alone(kind: Kind) -> None:
    with ComfyUIServer(kind=kind) as server:
        other = await asyncio.to_thread(server.put, 60)
        await cancel_when(backend(server.origin), lambda: len(server.jobs) == 2)
        assert server.asked("/interrupt") == []
        assert not other.interrupted
        assert server.waiting == []


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_while_the_answer_is_awaited_takes_the_prompt_back(kind: Kind) -> None:
    with ComfyUIServer(Script(delay=60, drip=1), kind) as server:
        await cancel_when(backend(server.origin), lambda: _begun(server))
        assert server.jobs[0].interrupted


async def test_cancelling_before_sending_sends_nothing() -> None:
    with ComfyUIServer() as server:
        drawer = backend(server.origin)
        job = drawer.generate(MODEL, ASK)
        await anext(job)
        await job.aclose()
        await drawer.aclose()
        assert server.asked("/prompt") == []
        assert server.asked("/interrupt") == []


async def test_nothing_is_interrupted_after_the_picture_came() -> None:
    with ComfyUIServer() as server:
        await events(server)
        assert server.asked("/interrupt") == []


def _begun(server: ComfyUIServer) -> bool:
    return server.running is not None
