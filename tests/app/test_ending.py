"""The app is told to end, as a service manager or `docker stop` does it."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.app.visitor import Visitor
from tests.app_process import serve
from tests.backends.comfyui.case import until
from tests.servers.comfyui import ComfyUIServer
from tests.servers.comfyui_script import Script


def test_sigterm_takes_back_what_a_server_draws(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ComfyUIServer(Script(delay=60)) as server, serve(home, COMFYUI_URL=server.origin) as app:
        visitor = Visitor(app.address)
        fields = {"Prompt": "a fox", "html": ["comfyui/first"]}
        visitor.call("announce", **fields)
        visitor.call("compare", **fields)
        assert until(lambda: server.running is not None)
        for _ in range(2):
            app.process.send_signal(signal.SIGTERM)
        assert app.process.wait(60) == 0
        assert server.jobs[0].interrupted
    with closing(sqlite3.connect(home / "lineup.db")) as stored:
        assert stored.execute("SELECT outcome FROM jobs").fetchall() == [("cancelled",)]
