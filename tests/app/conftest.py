"""Two apps for all tests of this folder: one for this machine alone, one at a public address."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backends.paths import PROJECT


@dataclass(frozen=True, slots=True)
class App:
    """A running app: its address, its data folder, the file of what it prints, its process."""

    address: str
    home: Path
    log: Path
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """End it with -9."""
        self.process.kill()
        self.process.wait()

    def requests(self) -> list[dict[str, Any]]:
        """Return the stored request of every run, the newest first."""
        with closing(sqlite3.connect(self.home / "lineup.db")) as database:
            rows = database.execute("select request from runs order by created_at desc")
            return [json.loads(row[0]) for row in rows]


@contextmanager
def serve(home: Path, *arguments: str, **environment: str) -> Generator[App, None, None]:
    """Run `python app.py` with its data in `home`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    log = home.parent / f"{home.name}.log"
    places = {"LINEUP_HOME": str(home), "GRADIO_TEMP_DIR": str(home / "uploads")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), *arguments],
            cwd=PROJECT,
            env={**os.environ, **places, **environment},
            stdout=output,
            stderr=output,
        )
        try:
            _wait_for(address, process, log)
            yield App(address, home, log, process)
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()


def _wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the app did not answer")


@pytest.fixture(scope="package")
def loopback_app(tmp_path_factory: pytest.TempPathFactory) -> Generator[App, None, None]:
    """The app for this machine alone."""
    with serve(tmp_path_factory.mktemp("loopback")) as app:
        yield app


@pytest.fixture(scope="package")
def public_app(tmp_path_factory: pytest.TempPathFactory) -> Generator[App, None, None]:
    """The app at a public address, without the owner's keys."""
    with serve(tmp_path_factory.mktemp("public"), LINEUP_HOSTS="lineup.example") as app:
        yield app


@pytest.fixture(params=["loopback_app", "public_app"])
def app(request: pytest.FixtureRequest) -> App:
    """Each of the two apps."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def address(app: App) -> str:
    """The address of each of the two apps."""
    return app.address


@pytest.fixture
def loopback(loopback_app: App) -> str:
    """The address of the app for this machine alone."""
    return loopback_app.address


@pytest.fixture
def public(public_app: App) -> str:
    """The address of the app at a public address."""
    return public_app.address
