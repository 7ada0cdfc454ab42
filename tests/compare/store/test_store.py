"""What is kept comes back: runs, pictures, and what a dead process left behind."""

import asyncio
import sqlite3
from dataclasses import replace
from datetime import date
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

from backends.base import Applied, Basis, Control, Request
from backends.errors import Outcome
from compare.records import Cost, Payer, Phase, RunSpec, SecondStep, Timing
from compare.store.errors import StoreError
from compare.store.recovery import BETWEEN, NOT_BEGUN, NOT_SENT, SENT
from compare.store.store import Store
from tests.compare.scripted import picture
from tests.compare.store.stored import NOW, new_run


async def reopened(home: Path, store: Store) -> Store:
    await store.close()
    again = Store(home)
    await again.open()
    return again


async def test_everything_comes_back_as_it_was(home: Path, store: Store):
    request = Request(
        prompt="שועל 🦊\nwith 'quotes' and \0",
        negative_prompt="blur",
        width=512,
        height=768,
        num_inference_steps=3,
        guidance_scale=2.5,
        seed=2**32 - 1,
        count=2,
        controls=(
            Control(
                image=bytes(range(256)),
                preprocessor="none",
                parameters={"low": 1},
                weight=0.5,
                end=0.8,
            ),
            Control(image=b"another", start=0.5),
            Control(image=b"another", preprocessor="hed"),
        ),
        image=b"a start",
        strength=0.25,
        options={"openai": {"quality": "high", "n": 1, "x": None, "y": True}},
    )
    second = SecondStep(model="m/b", prompt="🐺", strength=0.5, options={"local": {"x": 1}})
    run = replace(new_run(spec=RunSpec(request, second_step=second)), visitor="ab" * 32)
    await store.add_run(run)
    saved = await store.add_picture("r1-0", picture("a", seed=2**40), position=0)
    job = replace(
        run.jobs[0],
        phase=Phase.ENDED,
        outcome=Outcome.DONE,
        message="fine",
        started_at=NOW,
        sent_at=NOW,
        parent="another",
        payer=Payer.VISITOR,
        timing=Timing(
            queued=0.1, load=None, first_preview=1.5, generate=2.0, total=3.25, cached=True
        ),
        cost=Cost(
            amount=Decimal("0.0000001"),
            low=Decimal("0.10"),
            high=None,
            basis=Basis.USAGE,
            priced_on=date(2026, 1, 2),
            source="https://example.org",
        ),
        honoured={"seed": Applied(1, None, "seed ignored"), "size": Applied("1x1", "8x8")},
        pictures=(saved,),
    )
    await store.save_job(job)
    again = await reopened(home, store)
    assert await again.run("r1") == replace(run, jobs=(job,))
    assert [run.id for run in await again.recent(5)] == ["r1"]
    assert await again.run("nothing") is None
    await again.close()


async def test_pictures_are_kept_byte_for_byte(home: Path, store: Store):
    await store.add_run(new_run())
    drawn = picture("bytes", size=100_000)
    saved = await store.add_picture("r1-0", drawn, position=0)
    digest = sha256(drawn.data).hexdigest()
    assert saved.sha256 == digest and saved.size == len(drawn.data)
    file = store.picture_path(digest)
    assert file is not None and file == home / saved.path
    assert file.read_bytes() == drawn.data
    assert not list((home / "incoming").iterdir())
    for wrong in ("", "../" * 10, "f" * 64, digest[:-1], digest + "0", "*" * 64):
        assert store.picture_path(wrong) is None


async def test_the_same_picture_twice_is_one_file(home: Path, store: Store):
    await store.add_run(new_run(jobs=2))
    both = await asyncio.gather(
        *(store.add_picture(f"r1-{number}", picture("same"), position=0) for number in range(2))
    )
    assert both[0] == both[1]
    assert len([file for file in (home / "pictures").rglob("*") if file.is_file()]) == 1


async def test_sent_is_on_disk_when_mark_sent_returns(home: Path, store: Store):
    await store.add_run(new_run(jobs=64))
    await asyncio.gather(*(store.mark_sent(f"r1-{number}", NOW) for number in range(64)))
    with sqlite3.connect(home / "lineup.db") as other:
        (count,) = other.execute("select count(*) from jobs where sent_at is not null").fetchone()
    other.close()
    assert count == 64


async def test_a_fault_reaches_only_the_one_who_caused_it(store: Store):
    await store.add_run(new_run(jobs=8))
    again = new_run()  # the same id: cannot be written
    results = await asyncio.gather(
        *(store.mark_sent(f"r1-{number}", NOW) for number in range(4)),
        store.add_run(again),
        *(store.mark_sent(f"r1-{number}", NOW) for number in range(4, 8)),
        return_exceptions=True,
    )
    assert isinstance(results[4], StoreError)
    assert [result for result in results if result is not None] == [results[4]]
    run = await store.run("r1")
    assert run is not None and all(job.sent_at for job in run.jobs)


async def test_a_cancelled_caller_does_not_undo_a_write(store: Store):
    await store.add_run(new_run())
    marking = asyncio.create_task(store.mark_sent("r1-0", NOW))
    await asyncio.sleep(0)
    marking.cancel()
    await asyncio.gather(marking, return_exceptions=True)
    run = await store.run("r1")
    assert run is not None and run.jobs[0].sent_at == NOW


async def test_medians_are_of_finished_jobs_only(store: Store):
    run = new_run(jobs=6)
    jobs = [replace(job, model="test/x") for job in run.jobs]
    jobs[5] = replace(jobs[5], parent=jobs[0].id)
    await store.add_run(replace(run, jobs=tuple(jobs)))
    for job, seconds in zip(jobs, (1.0, 3.0, 2.0), strict=False):
        await store.save_job(replace(job, outcome=Outcome.DONE, timing=Timing(generate=seconds)))
    await store.save_job(replace(jobs[3], outcome=Outcome.FAILED, timing=Timing(generate=99.0)))
    second = replace(jobs[5], outcome=Outcome.DONE, timing=Timing(generate=0.1))
    await store.save_job(second)
    assert await store.median_seconds("test/x") == 2.0
    for position in range(2):
        await store.add_picture(jobs[1].id, picture(f"two {position}"), position=position)
    assert (await store.medians())["test/x"] == {1: 1.5, 2: 3.0}
    assert await store.median_seconds("test/y") is None


async def test_a_lost_control_picture_does_not_lose_the_run(home: Path, store: Store):
    request = Request(prompt="x", controls=(Control(image=b"map"),), image=b"start")
    await store.add_run(new_run(spec=RunSpec(request)))
    for file in (home / "controls").iterdir():
        file.unlink()
    run = await store.run("r1")
    assert run is not None and run.request.controls == (Control(image=b""),)
    assert run.request.image == b""


async def test_a_living_process_keeps_its_jobs_and_a_dead_ones_are_ended(home: Path, store: Store):
    first, second = store, Store(home)
    await first.add_run(new_run(jobs=3))
    await first.mark_sent("r1-0", NOW)
    await first.mark_sent("r1-1", NOW)
    await first.add_picture("r1-1", picture("kept"), position=0)
    await second.open()
    run = await second.run("r1")
    assert run is not None and [job.outcome for job in run.jobs] == [None] * 3

    await first.close()  # without an end for its jobs: as good as dead
    run = await second.run("r1")
    assert run is not None
    sent, with_picture, waiting = run.jobs
    assert (sent.outcome, sent.message) == (Outcome.UNKNOWN, SENT)
    assert sent.cost.amount is None
    assert with_picture.outcome is Outcome.UNKNOWN and len(with_picture.pictures) == 1
    assert with_picture.message == f"{SENT} 1 finished picture was kept."
    assert (waiting.outcome, waiting.message) == (Outcome.CANCELLED, NOT_SENT)
    assert waiting.cost.amount == 0
    assert list((home / "owners").glob("*.lock")) == [home / "owners" / f"{second.owner_id}.lock"]
    await second.close()


async def test_the_second_steps_of_a_dead_process_say_what_is_there_to_go_on_from(
    home: Path, store: Store
):
    """Of three chains the first was done, the second's picture is only in its file, no third."""
    run = new_run(jobs=6)
    jobs = [
        replace(job, parent=run.jobs[n - 1].id if n % 2 else None) for n, job in enumerate(run.jobs)
    ]
    await store.add_run(replace(run, jobs=tuple(jobs)))
    done = await store.add_picture("r1-0", picture("done"), position=0)
    await store.save_job(replace(jobs[0], outcome=Outcome.DONE, pictures=(done,)))
    (home / "incoming" / "r1-2.0.8x8..png").write_bytes(picture("orphan").data)
    again = await reopened(home, store)
    ended = await again.run("r1")
    assert ended is not None
    assert [job.message for job in ended.jobs[1::2]] == [BETWEEN, BETWEEN, NOT_BEGUN]
    for job in ended.jobs[1::2]:
        assert (job.outcome, job.cost.amount) == (Outcome.CANCELLED, 0)
    await again.close()


async def test_a_picture_that_the_database_never_heard_of_is_given_back(home: Path, store: Store):
    await store.add_run(new_run())
    await store.mark_sent("r1-0", NOW)
    drawn = picture("orphan", seed=7)
    incoming = home / "incoming"
    (incoming / "r1-0.0.8x8.7.png").write_bytes(drawn.data)
    (incoming / "r1-0.1.8x8..png.part").write_bytes(b"half")
    (incoming / "somebody-elses.0.8x8..png").write_bytes(b"stays")
    again = await reopened(home, store)
    run = await again.run("r1")
    assert run is not None
    (saved,) = run.jobs[0].pictures
    assert (saved.seed, saved.width, saved.media_type) == (7, 8, "image/png")
    assert (home / saved.path).read_bytes() == drawn.data
    assert [file.name for file in incoming.iterdir()] == ["somebody-elses.0.8x8..png"]
    await again.close()


async def test_a_picture_that_the_database_knows_is_not_added_twice(home: Path, store: Store):
    await store.add_run(new_run())
    saved = await store.add_picture("r1-0", picture("known"), position=0)
    (home / saved.path).rename(home / "incoming" / "r1-0.0.8x8..png")  # killed before the move
    again = await reopened(home, store)
    run = await again.run("r1")
    assert run is not None and run.jobs[0].pictures == (saved,)
    assert (home / saved.path).read_bytes() == picture("known").data
    await again.close()
