"""What was kept by an earlier version of Lineup still opens."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from backends.base import Control, Request
from compare.records import RunSpec, Timing
from compare.store.store import Store


def first_revision(home: Path, requests: Mapping[str, str]) -> None:
    """Leave a database with a run of one job for each request, as the first version would."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text

    from compare.store import migrations

    (home / "controls").mkdir(parents=True)
    engine = create_engine(f"sqlite:///{home / 'lineup.db'}")
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__ or "").parent))
        command.upgrade(config, "0001")
        for id, request in requests.items():
            connection.execute(
                text(
                    "INSERT INTO runs (id, created_at, prompt, request)"
                    " VALUES (:id, '2026-11-22T12:00:00+00:00', 'a', :request)"
                ),
                {"id": id, "request": request},
            )
            connection.execute(
                text(
                    "INSERT INTO jobs (id, run_id, position, model, owner, created_at, outcome,"
                    " message, total, source, honoured) VALUES (:job, :id, 0, 'm/a', 'o',"
                    " '2026-11-22T12:00:00+00:00', 'done', '', 3.5, '', '{}')"
                ),
                {"id": id, "job": f"{id}-0"},
            )
    engine.dispose()


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
