"""What was kept by an earlier version of Lineup still opens."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backends.base import Basis, Control, Request
from backends.errors import Outcome
from compare.records import Cost, Job, Phase, RunSpec, SavedPicture, Timing
from compare.store.recovery import BETWEEN, SENT
from compare.store.store import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection

EARLIER = ("0001", "0002", "0003", "0004")
BATCH = "0123456789abcdefv"
MANY_DIGITS = ("0.001044244444444444444444444444", "12345678.10", "100")
Rows = Mapping[str, Sequence[dict[str, Any]]]


def old_run(id: str, at: str, request: str = '{"prompt": "a", "control": null}') -> dict[str, Any]:
    return {"id": id, "created_at": at, "prompt": "a", "request": request}


def old_job(id: str, run_id: str, position: int = 0, **changed: object) -> dict[str, Any]:
    """A job's row as every earlier revision has it: text for amounts, times and days."""
    row: dict[str, Any] = {
        "id": id,
        "run_id": run_id,
        "position": position,
        "model": "m/a",
        "owner": "gone",
        "created_at": "2026-11-22T12:00:00+00:00",
        "started_at": None,
        "sent_at": None,
        "outcome": "done",
        "message": "",
        "queued": None,
        "load": None,
        "first_preview": None,
        "generate": None,
        "download": None,
        "total": 3.5,
        "amount": None,
        "low": None,
        "high": None,
        "basis": None,
        "priced_on": None,
        "source": "",
        "honoured": "{}",
    }
    return row | changed


def old_rows() -> Rows:
    """What the code of revision 0001 could have written, of every kind."""
    amount, low, high = MANY_DIGITS
    paid: dict[str, Any] = {
        "low": "0.020",
        "high": "0.0000000000000000000000000001",
        "basis": "price list",
    }
    return {
        "runs": [
            old_run("00000000000000aa", "2026-11-22T12:00:00+00:00"),
            *(
                old_run(f"{BATCH}{n}", f"2026-11-22T12:00:00.0000{n:02}+00:00")
                for n in range(1, 12)
            ),
        ],
        "jobs": [
            old_job(
                "done",
                "00000000000000aa",
                model="openai@studio/x",
                started_at="2026-11-22T12:00:00.000001+00:00",
                sent_at="2026-11-22T12:00:01+00:00",
                amount=amount,
                low=low,
                high=high,
                basis="usage",
                priced_on="2026-01-02",
                source="https://example.org",
                honoured='{"seed": [1, null, "seed ignored"]}',
            ),
            old_job("free", "00000000000000aa", 1, amount="0", low="0", high="0", basis="free"),
            old_job("sent", f"{BATCH}1", outcome=None, sent_at="2026-11-22T12:00:02+00:00", **paid),
            old_job("begun", f"{BATCH}2", outcome=None, generate=1.25),
            *(old_job(f"more{n}", f"{BATCH}{n}", amount="0.0000001") for n in range(3, 12)),
        ],
        "pictures": [
            {
                "job_id": "done",
                "position": position,
                "sha256": f"{position}" * 64,
                "path": f"pictures/00/{position}.png",
                "width": 8,
                "height": 9,
                "media_type": "image/png",
                "size": 123,
                "seed": seed,
            }
            for position, seed in enumerate((2**40, None))
        ],
    }


def rows_of(revision: str) -> Rows:
    """Return the rows of `old_rows` with what later revisions up to `revision` added."""
    rows = old_rows()
    runs, jobs = list(rows["runs"]), list(rows["jobs"])
    if revision >= "0002":
        jobs = [job | {"cached": job["id"] == "free"} for job in jobs]
    if revision >= "0003":
        jobs = [job | {"parent": None} for job in jobs]
        jobs.append(
            old_job("second", "00000000000000aa", 2, outcome=None, cached=False, parent="done")
        )
    if revision >= "0004":
        runs = [run | {"request": '{"prompt": "a", "controls": []}'} for run in runs]
    return {"runs": runs, "jobs": jobs, "pictures": rows["pictures"]}


@contextmanager
def migrating(home: Path) -> Generator[tuple["Connection", Callable[[str], None]]]:
    """Yield a connection to the database and a function that takes it up or down to a revision."""
    from alembic import command
    from alembic.config import Config

    from compare.store.engine import MIGRATIONS, REVISIONS
    from compare.store.sqlite import create

    engine = create(home)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))

        def migrate(revision: str) -> None:
            from alembic.migration import MigrationContext

            present = MigrationContext.configure(connection).get_current_revision() or "0000"
            assert revision in REVISIONS
            (command.upgrade if revision > present else command.downgrade)(config, revision)

        yield connection, migrate
    engine.dispose()


def old_store(home: Path, revision: str, rows: Rows) -> None:
    """Leave a database as the version of Lineup with this revision would."""
    from sqlalchemy import text

    (home / "controls").mkdir(parents=True)
    with migrating(home) as (connection, migrate):
        migrate(revision)
        for table, each in rows.items():
            for row in each:
                values = ", ".join(f":{name}" for name in row)
                insert = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"
                connection.execute(text(insert), row)


def dump(connection: "Connection") -> dict[str, list[dict[str, Any]]]:
    """Return all rows as they are stored, in order of their keys, with requests parsed."""
    tables = {"runs": "id", "jobs": "id", "pictures": "job_id, position"}
    found = {
        table: [
            dict(row)
            for row in connection.exec_driver_sql(
                f"SELECT * FROM {table} ORDER BY {key}"
            ).mappings()
        ]
        for table, key in tables.items()
    }
    for row in found["runs"]:
        row["request"] = json.loads(row["request"])
    return found


def first_revision(home: Path, requests: Mapping[str, str]) -> None:
    """Leave a database with a run of one job for each request, as the first version would."""
    runs = [old_run(id, "2026-11-22T12:00:00+00:00", request) for id, request in requests.items()]
    old_store(home, "0001", {"runs": runs, "jobs": [old_job(f"{id}-0", id) for id in requests]})


@pytest.mark.parametrize("revision", EARLIER)
async def test_everything_of_every_earlier_revision_comes_back(home: Path, revision: str):
    old_store(home, revision, rows_of(revision))
    store = Store(home)
    await store.open()
    run = await store.run("00000000000000aa")
    assert run is not None and run.spec == RunSpec(Request(prompt="a"))
    assert run.created_at == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert run.created_at.isoformat() == "2026-11-22T12:00:00+00:00"
    done, free = run.jobs[:2]
    amount, low, high = MANY_DIGITS
    assert [f"{each:f}" for each in (done.cost.amount, done.cost.low, done.cost.high)] == [
        amount,
        low,
        high,
    ]
    assert done == Job(
        id="done",
        run_id="00000000000000aa",
        model="openai@studio/x",
        created_at=datetime(2026, 11, 22, 12, tzinfo=UTC),
        phase=Phase.ENDED,
        outcome=Outcome.DONE,
        started_at=datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC),
        sent_at=datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC),
        timing=Timing(total=3.5),
        cost=Cost(
            amount=Decimal(amount),
            low=Decimal(low),
            high=Decimal(high),
            basis=Basis.USAGE,
            priced_on=date(2026, 1, 2),
            source="https://example.org",
        ),
        honoured=done.honoured,
        pictures=tuple(
            SavedPicture(
                path=f"pictures/00/{n}.png",
                sha256=f"{n}" * 64,
                width=8,
                height=9,
                media_type="image/png",
                size=123,
                seed=seed,
            )
            for n, seed in enumerate((2**40, None))
        ),
    )
    assert [each.note for each in done.honoured.values()] == ["seed ignored"]
    assert free.cost.amount == 0 and free.timing.cached == (revision >= "0002")
    if revision >= "0003":
        assert (run.jobs[2].parent, run.jobs[2].message) == ("done", BETWEEN)
    await store.close()


@pytest.mark.parametrize("revision", EARLIER)
async def test_jobs_under_way_of_every_earlier_revision_are_ended(home: Path, revision: str):
    old_store(home, revision, rows_of(revision))
    store = Store(home)
    await store.open()
    sent, begun = await store.run(f"{BATCH}1"), await store.run(f"{BATCH}2")
    assert sent is not None and begun is not None
    assert (sent.jobs[0].outcome, sent.jobs[0].message) == (Outcome.UNKNOWN, SENT)
    assert f"{sent.jobs[0].cost.high:f}" == "0.0000000000000000000000000001"
    assert f"{sent.jobs[0].cost.low:f}" == "0.020" and sent.jobs[0].cost.amount is None
    assert begun.jobs[0].outcome is Outcome.CANCELLED and begun.jobs[0].cost.amount == 0
    await store.close()


@pytest.mark.parametrize("revision", EARLIER)
async def test_batches_and_backends_of_every_earlier_revision_are_found(home: Path, revision: str):
    old_store(home, revision, rows_of(revision))
    store = Store(home)
    await store.open()
    ids = [f"{BATCH}{n}" for n in range(1, 12)]
    assert await store.batch(f"{BATCH}10") == ids
    assert await store.batch(f"{BATCH}1") == ids
    assert await store.batch("00000000000000aa") == ["00000000000000aa"]
    assert await store.batch(BATCH) == []
    assert [run.id for run in await store.recent(12)] == [*reversed(ids), "00000000000000aa"]
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert await store.drawn_since("openai", noon) == 2
    assert await store.drawn_since("openai", noon + timedelta(microseconds=1)) == 0
    # What was sent and never answered counts with its upper estimate.
    expected = Decimal(MANY_DIGITS[0]) + 9 * Decimal("0.0000001") + Decimal("1E-28")
    assert await store.spent_since(noon) == expected
    await store.close()


@pytest.mark.parametrize("revision", EARLIER)
def test_a_database_goes_up_and_down_without_a_change(home: Path, revision: str):
    old_store(home, revision, rows_of(revision))
    with migrating(home) as (connection, migrate):
        before = dump(connection)
        migrate("0006")
        after = dump(connection)
        assert after["jobs"] != before["jobs"] and after["pictures"] == before["pictures"]
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        migrate(revision)
        assert dump(connection) == before
        migrate("0006")
        assert dump(connection) == after


def test_earlier_runs_have_no_visitor_and_were_paid_by_the_owner(home: Path):
    old_store(home, "0004", rows_of("0004"))
    with migrating(home) as (connection, migrate):
        migrate("0005")
        typed = dump(connection)
        migrate("0006")
        found = dump(connection)
        assert {row.pop("visitor") for row in found["runs"]} == {""}
        assert {row.pop("payer") for row in found["jobs"]} == {"owner"}
        assert found == typed
        migrate("0005")
        assert dump(connection) == typed


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T14:30:00.500000+02:30",
        "2026-11-22T12:00:00.500000+00:00",
        "2026-11-22T12:00:00.500000Z",
        "2026-11-22T12:00:00.500000",
        "2026-11-22 04:00:00.5-08:00",
    ],
)
def test_times_of_any_zone_become_the_same_moment(home: Path, text: str):
    rows: Rows = {
        "runs": [old_run("r", text)],
        "jobs": [old_job("j", "r", created_at=text, started_at=text, sent_at=text)],
    }
    old_store(home, "0004", {**rows, "jobs": [job | {"cached": False} for job in rows["jobs"]]})
    with migrating(home) as (connection, migrate):
        migrate("0005")
        found = dump(connection)
        times = {row[name] for row in found["jobs"] for name in ("created_at", "sent_at")}
        assert times | {found["runs"][0]["created_at"]} == {"2026-11-22 12:00:00.500000"}
        migrate("0004")
        found = dump(connection)
        assert found["jobs"][0]["started_at"] == "2026-11-22T12:00:00.500000+00:00"


async def test_a_row_that_cannot_be_converted_leaves_the_database_as_it_was(home: Path):
    rows = {"runs": [old_run("r", "yesterday")], "jobs": []}
    old_store(home, "0004", rows)
    store = Store(home)
    with pytest.raises(ValueError, match="yesterday"):
        await store.open()
    await store.close()
    with migrating(home) as (connection, _):
        assert dump(connection)["runs"][0]["created_at"] == "yesterday"
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
        assert not [name for name in names if "typed" in name]


async def test_a_database_of_the_first_revision_keeps_its_jobs(home: Path):
    first_revision(home, {"r": '{"prompt": "a"}'})
    store = Store(home)
    await store.open()
    run = await store.run("r")
    assert run is not None
    assert run.jobs[0].timing == Timing(total=3.5)
    assert run.jobs[0].parent is None and run.spec == RunSpec(Request(prompt="a"))
    await store.close()


async def test_runs_that_had_one_control_picture_or_none_still_open(home: Path):
    digest = sha256(b"edges").hexdigest()
    kept = {
        "prompt": "נר",
        "image": None,
        "control": {
            "preprocessor": "hed",
            "parameters": {"safe": True},
            "weight": 0.5,
            "start": 0.1,
            "end": 0.9,
            "sha256": digest,
        },
    }
    without = {"prompt": "b", "control": None}
    first_revision(home, {"r1": json.dumps(kept, ensure_ascii=False), "r2": json.dumps(without)})
    (home / "controls" / digest).write_bytes(b"edges")
    store = Store(home)
    await store.open()
    run, plain = await store.run("r1"), await store.run("r2")
    assert run is not None and plain is not None
    control = Control(
        image=b"edges",
        preprocessor="hed",
        parameters={"safe": True},
        weight=0.5,
        start=0.1,
        end=0.9,
    )
    assert run.spec == RunSpec(Request(prompt="נר", controls=(control,)))
    assert plain.spec == RunSpec(Request(prompt="b"))
    assert [run.request.prompt for run in await store.recent(5)] == ["b", "נר"]
    await store.close()
