"""The database is deleted under the running app: the page says so, and paid pictures stay on it."""

import time
from pathlib import Path

from tests.app.killing import settings
from tests.app.visitor import Visitor
from tests.app_process import serve
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script

SENTENCE = "was deleted, moved or replaced while Lineup runs"
MODEL = ["openai/gpt-image-2.6-flare"]


def wait_for_requests(server: OpenAIServer, number: int) -> None:
    deadline = time.monotonic() + 30
    while len(server.generations) < number and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(server.generations) == number


def delete_database(home: Path) -> None:
    for file in home.glob("lineup.db*"):
        file.unlink()


def test_a_deleted_database_is_told_on_card_and_page(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with OpenAIServer(Script(delay=60)) as server, serve(home, **settings(server)) as app:
        visitor, another = Visitor(app.address), Visitor(app.address)
        server.queue.append(Script())
        old = visitor.compare(html=MODEL)
        visitor.http.get(f"/lineup/runs/{old}/events")  # it has ended, and is in the database only
        variants = "a {red|blue} fox"
        another.call("announce", Prompt=variants, html=MODEL)
        batch = another.compare(variants, html=MODEL)
        wait_for_requests(server, 3)
        server.queue.append(Script(delay=1.0))
        run = visitor.compare(html=MODEL)
        wait_for_requests(server, 4)
        delete_database(home)
        card = visitor.http.get(f"/lineup/runs/{run}/events").text
        assert SENTENCE in card
        assert "The picture was put into" in card
        assert SENTENCE in visitor.call("compare", Prompt="another", html=MODEL).text
        # What was kept before cannot be read, and nothing claims otherwise.
        for path in (f"/{old}/events", f"/{old}/pictures", f"?id={old}", "/unknown/events"):
            answer = visitor.http.get(f"/lineup/runs{path}")
            assert answer.status_code == 503 and SENTENCE in answer.text
        assert SENTENCE in visitor.post("show_run", [], {"run": old}).text
        assert visitor.http.get(f"/?run={run}").status_code == 200
        # What runs can still be followed and stopped, all of it.
        ids = (batch, f"{batch[:-1]}2")
        states = visitor.http.get(f"/lineup/runs?id={ids[0]}&id={ids[1]}").json()
        assert len(states) == 2
        assert another.post("stop", [None]).status_code == 200
        for id in states:
            assert "it may have been billed" in visitor.http.get(f"/lineup/runs/{id}/events").text
        assert len(server.generations) == 4
