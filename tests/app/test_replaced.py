"""The database is deleted under the running app: the page says so, and paid pictures stay on it."""

import time
from pathlib import Path

from tests.app.conftest import serve
from tests.app.killing import settings
from tests.app.visitor import Visitor
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script

SENTENCE = "was deleted, moved or replaced while Lineup runs"
MODEL = ["openai/gpt-image-2.6-flare"]


def test_a_deleted_database_is_told_on_card_and_page(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with OpenAIServer(Script(delay=1.5)) as server, serve(home, **settings(server)) as app:
        visitor = Visitor(app.address)
        run = visitor.compare(html=MODEL)
        deadline = time.monotonic() + 30
        while not server.generations and time.monotonic() < deadline:
            time.sleep(0.01)
        for file in home.glob("lineup.db*"):
            file.unlink()
        card = visitor.http.get(f"/lineup/runs/{run}/events").text
        assert SENTENCE in card
        assert "The picture was put into" in card
        assert SENTENCE in visitor.call("compare", Prompt="another", html=MODEL).text
        assert visitor.http.get(f"/?run={run}").status_code == 200
        assert len(server.generations) == 1
