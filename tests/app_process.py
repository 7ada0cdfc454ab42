"""The app in a process of its own, as the command line starts it."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backends.paths import PROJECT
from tests.canaries import NOWHERE, PLANTED, files_with_canaries

CANARIES: Final = {**PLANTED, **NOWHERE}


@dataclass(frozen=True, slots=True)
class App:
    """A running app: its address, its data and temporary folders, what it prints, its process."""

    address: str
    home: Path
    temp: Path
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


def serve(home: Path, *arguments: str, **environment: str) -> AbstractContextManager[App]:
    """Run `python app.py` with its data in `home`, and end it with -9.

    The canary keys in its environment are found nowhere afterwards.
    """
    return serve_checkout(PROJECT, home, arguments, {**CANARIES, **environment})


@contextmanager
def serve_checkout(
    root: Path, home: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> Generator[App, None, None]:
    """Run the app of the checkout in `root`, as `serve` does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    log, temp = home.parent / f"{home.name}.log", home.parent / f"{home.name}.tmp"
    temp.mkdir(exist_ok=True)
    places = {"LINEUP_HOME": str(home), "TMPDIR": str(temp)}
    places["GRADIO_TEMP_DIR"] = str(home / "uploads")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), *arguments],
            cwd=root,
            env={**os.environ, **places, **environment},
            stdout=output,
            stderr=output,
        )
        try:
            _wait_for(address, process, log)
            yield App(address, home, temp, log, process)
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()
    assert files_with_canaries(home, log, temp) == []


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
