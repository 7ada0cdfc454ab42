"""Jobs of the A1111 backend in time: progress, previews, a server's queue, stopping."""

import asyncio
from dataclasses import replace

import pytest

from backends.a1111 import client, progress
from backends.base import Event, Progress, Queued, Receipt
from backends.errors import ServiceFault, Unanswered
from backends.images.validation import dimensions
from tests.backends.a1111.case import (
    ASK,
    MODEL,
    backend,
    cancel_when,
    events,
    named,
    of,
    pictures_of,
    receipt_of,
    until,
)
from tests.servers.a1111 import A1111Server
from tests.servers.a1111_script import SDNEXT, Kind, Script, json_script

KINDS = [
    pytest.param(Kind(), id="AUTOMATIC1111"),
    pytest.param(SDNEXT, id="SD.Next"),
    pytest.param(Kind(tasks=False, route=False), id="old"),
]
NAMELESS = KINDS[1:]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the server often, so that short jobs are seen under way."""
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.05)


@pytest.mark.parametrize("kind", KINDS)
async def test_progress_and_previews_come_while_it_is_drawn(kind: Kind) -> None:
    with A1111Server(Script(delay=1), kind) as server:
        got = await events(server)
    steps = [event.step for event in of(Progress, got)]
    assert steps == sorted(steps) and len(steps) >= 2
    assert 0 < steps[-1] <= 20
    assert {event.steps for event in of(Progress, got)} == {20}
    looks = [event.preview for event in of(Progress, got) if event.preview]
    assert looks
    assert all(dimensions(look.data)[2] == look.media_type == "image/jpeg" for look in looks)
    assert len(pictures_of(got)) == 1
    asked = [received for received in server.requests if received.path == "/internal/progress"]
    assert (len(asked) == 1) is not kind.route


async def test_a_wait_behind_another_job_is_shown_and_not_counted() -> None:
    with A1111Server(Script(delay=0.6, time="600")) as server:
        await asyncio.to_thread(server.in_loop, "another", 1)
        got = await events(server)
    (waiting,) = of(Queued, got)
    turn = got[got.index(waiting) + 1]
    assert isinstance(turn, Progress) and turn.preview is None, "its turn, then a look"
    assert any(event.preview for event in of(Progress, got))
    generate = receipt_of(got).generate
    assert generate is not None and 0 < generate < 600


@pytest.mark.parametrize("kind", NAMELESS)
async def test_anothers_progress_is_not_shown_as_ours(kind: Kind) -> None:
    with A1111Server(kind=kind) as server:
        await asyncio.to_thread(server.in_loop, "another", 0.7)
        got = await events(server)
    assert of(Progress, got) == []
    assert len(pictures_of(got)) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_interrupts_the_running_job(kind: Kind) -> None:
    with A1111Server(Script(delay=4), kind) as server:
        await cancel_when(backend(server.origin), lambda: bool(server.jobs and server.jobs[0].step))
        assert server.interrupts == 1
        assert server.jobs[-1].interrupted


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_leaves_anothers_job_alone(kind: Kind) -> None:
    with A1111Server(kind=kind) as server:
        await asyncio.to_thread(server.in_loop, "another", 60)
        await cancel_when(backend(server.origin), lambda: len(server.jobs) == 2)
        assert server.interrupts == 0
        assert not server.jobs[0].interrupted


@pytest.mark.parametrize("kind", NAMELESS)
async def test_of_two_jobs_before_ours_none_is_taken_for_it(kind: Kind) -> None:
    with A1111Server(kind=kind) as server:
        await asyncio.to_thread(server.in_loop, "first", 0.3)
        await asyncio.to_thread(server.in_loop, "second", 3)
        await cancel_when(
            backend(server.origin), lambda: len(server.jobs) == 3 and server.jobs[1].step > 0
        )
        assert [job.done for job in server.jobs] == [True, False, False]
        assert server.interrupts == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_while_the_answer_comes_leaves_the_next_job_alone(kind: Kind) -> None:
    with A1111Server(Script(delay=0.5, drip=1), kind) as server:

        def answering() -> bool:
            if server.jobs and server.jobs[0].done and len(server.jobs) == 1:
                server.in_loop("next", 60)
            return len(server.jobs) == 2

        await cancel_when(backend(server.origin), answering)
        assert server.interrupts == 0
        assert not server.jobs[1].interrupted


async def test_cancelling_before_sending_sends_nothing() -> None:
    with A1111Server() as server:
        drawer = backend(server.origin)
        job = drawer.generate(MODEL, ASK)
        await anext(job)
        await job.aclose()
        await drawer.aclose()
        assert server.generations == []
        assert server.interrupts == 0


async def test_a_job_that_is_no_longer_waited_for_is_stopped() -> None:
    with A1111Server(Script(delay=60)) as server:
        with pytest.raises(Unanswered) as caught:
            await events(server, LINEUP_ANSWER_SECONDS="1")
        assert server.jobs[-1].interrupted
    assert "billed" not in str(caught.value)


async def test_nothing_is_interrupted_after_the_picture_came() -> None:
    with A1111Server() as server:
        await events(server)
        assert server.interrupts == 0


async def test_progress_counts_the_steps_of_all_pictures_though_the_server_counts_anew() -> None:
    asked = replace(ASK, count=2, num_inference_steps=6)
    with A1111Server(Script(delay=0.8), replace(SDNEXT, route=False)) as server:
        got = await events(server, asked)
    steps = [event.step for event in of(Progress, got)]
    assert steps == sorted(steps)
    assert any(step > 6 for step in steps) and max(steps) <= 12
    assert {event.steps for event in of(Progress, got)} == {12}


@pytest.mark.parametrize("phase", ["API-TXT", "Load", "Process", "Inference", "VAE"])
async def test_stop_ends_the_whole_job_whatever_its_phase(phase: str) -> None:
    asked = replace(ASK, count=2, num_inference_steps=3)
    with A1111Server(Script(delay=0.8), SDNEXT) as server:
        await cancel_when(backend(server.origin), lambda: server.state.job == phase, request=asked)
        (job,) = server.jobs
        assert await asyncio.to_thread(until, lambda: job.done)
    assert job.drawn < 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_that_somebody_interrupts_is_not_done(kind: Kind) -> None:
    with A1111Server(Script(delay=1.6), kind) as server:
        reading = asyncio.create_task(events(server, replace(ASK, count=2)))
        assert await asyncio.to_thread(until, lambda: bool(server.jobs and server.jobs[0].step))
        server.interrupt_from_elsewhere()
        with pytest.raises(ServiceFault, match="interrupted or skipped this job"):
            await reading
    assert server.interrupts == 0


async def test_the_pictures_of_an_interrupted_job_are_kept() -> None:
    with A1111Server(Script(delay=1.2)) as server:
        drawer, got = backend(server.origin), list[Event]()
        stopping = asyncio.create_task(
            asyncio.to_thread(until, lambda: bool(server.jobs and server.jobs[0].drawn))
        )
        stopping.add_done_callback(lambda _: server.interrupt_from_elsewhere())
        with pytest.raises(ServiceFault, match="half finished"):
            async for event in drawer.generate(MODEL, replace(ASK, count=3)):
                got += [event]
        await drawer.aclose()
    assert len(pictures_of(got)) >= 1 and of(Receipt, got) == []


BROKEN = [
    pytest.param(Script(status=404, raw=b'{"detail":"Not Found"}'), id="404"),
    pytest.param(Script(status=405, raw=b'{"detail":"Method Not Allowed"}'), id="405"),
    pytest.param(json_script({"error": "ValidationError", "errors": "1 error"}, 500), id="500"),
    pytest.param(Script(status=502, raw=b"<html>Bad gateway</html>"), id="502"),
    pytest.param(Script(raw=b"<html>Gradio</html>", media_type="text/html"), id="HTML"),
    pytest.param(Script(raw=b""), id="empty"),
    pytest.param(json_script(None), id="null"),
    pytest.param(json_script("fine"), id="text"),
    pytest.param(Script(raw=b'{"state": {}}', cut=4), id="cut"),
    pytest.param(Script(hang=True), id="nothing"),
]
COURTESIES = (
    "/sdapi/v1/progress",
    "/internal/progress",
    "/sdapi/v1/sd-models",
    "/sdapi/v1/samplers",
    "/sdapi/v1/schedulers",
    "/sdapi/v1/options",
    "/sdapi/v1/loras",
    "/sdapi/v1/memory",
)


@pytest.mark.parametrize("script", BROKEN)
async def test_courtesies_cost_no_picture(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "COURTESY_SECONDS", 0.1)
    monkeypatch.setattr(progress, "COURTESY_SECONDS", 0.1)
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.1)
    asked = replace(
        ASK,
        prompt="a lighthouse <lora:glow:0.8>",
        options={"a1111": {"sampler_name": "Euler a", "scheduler": "Karras"}},
    )
    kind = Kind(broken=dict.fromkeys(COURTESIES, script), loras=("glow",))
    with A1111Server(kind=kind) as server:
        # The title as the server writes it: it takes no other, and draws with the loaded one then.
        title = "anime/dreamy_v2.safetensors [879db523c3]"
        got = await events(server, asked, named(title))
    honoured = receipt_of(got).honoured
    assert len(pictures_of(got)) == 1
    assert honoured["checkpoint"].used == "dreamy_v2" and honoured["checkpoint"].note == ""
    assert honoured["sampler_name"].note == "" and honoured["scheduler"].used == "Karras"
    assert "not checked" in honoured["loras"].note


@pytest.mark.parametrize("script", BROKEN)
@pytest.mark.parametrize("path", ["/internal/progress", "/sdapi/v1/progress"])
async def test_stop_works_with_either_route_broken(
    script: Script, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(progress, "COURTESY_SECONDS", 0.1)
    with A1111Server(Script(delay=20), Kind(broken={path: script})) as server:
        await cancel_when(backend(server.origin), lambda: bool(server.jobs))
    assert server.interrupts == 1 and server.jobs[0].interrupted


async def test_the_time_behind_a_job_whose_end_is_not_seen_is_not_drawing() -> None:
    with A1111Server(kind=SDNEXT) as server:
        await asyncio.to_thread(server.in_loop, "another", 0.6)
        got = await events(server)
    assert of(Queued, got) and of(Progress, got) == []
    assert receipt_of(got).generate is None
