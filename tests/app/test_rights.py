"""What a visitor may do to a run: look at every one whose link they have, change only their own."""

import pytest

from tests.app.visitor import Visitor
from tests.app_process import App

NOT_YOURS = "started in another browser"
BUTTONS = ("stop_job", "retry", "run_again", "new_seed", "more")


def press(visitor: Visitor, button: str, run: str) -> str:
    """Press a button of a run's board and return what the page is told."""
    keys = [None] if button in ("retry", "run_again", "new_seed", "more") else []
    answer = visitor.post(button, keys, {"run": run, "job": f"{run}-0"})
    assert answer.status_code == 200
    return answer.text


def events(visitor: Visitor, run: str) -> str:
    """Follow a run to its end."""
    return visitor.http.get(f"/lineup/runs/{run}/events").text


@pytest.fixture
def run(public_app: App) -> tuple[Visitor, str]:
    """A run at a public address, and the visitor who has started it."""
    starter = Visitor(public_app.address)
    run = starter.compare("a red star", Steps="90")
    assert run
    return starter, run


def test_another_visitor_looks_and_changes_nothing(
    public_app: App, run: tuple[Visitor, str]
) -> None:
    starter, id = run
    other, nobody = Visitor(public_app.address), Visitor(public_app.address)
    nobody.http.cookies.clear()
    before = len(public_app.requests())
    for visitor in (other, nobody):
        for button in BUTTONS:
            assert NOT_YOURS in press(visitor, button, id)
        hand_in = visitor.http.post(f"/lineup/runs/{id}/jobs/{id}-0/picture", content=b"x" * 10)
        assert hand_in.status_code == 403 and NOT_YOURS in hand_in.text
        # The page that a link opens: looking is free, its Stop is not.
        visitor.http.params = {"run": id}
        page = visitor.post("restore", [])
        assert f'data-run=\\"{id}\\"' in page.text and 'data-mine=\\"no\\"' in page.text
        assert NOT_YOURS in visitor.post("stop", [None]).text
        visitor.http.params = {}
    assert len(public_app.requests()) == before
    assert starter.http.get(f"/lineup/runs?id={id}").json()[id]["state"] == "running"
    starter.http.params = {"run": id}
    assert 'data-mine=\\"yes\\"' in starter.post("restore", []).text
    starter.http.params = {}
    assert starter.post("stop", [None]).status_code == 200
    assert "Stopped" in events(other, id)


def test_a_token_that_was_made_up_is_nobody(public_app: App, run: tuple[Visitor, str]) -> None:
    starter, id = run
    forged = Visitor(public_app.address)
    token = starter.http.cookies["lineup_visitor"]
    for value in ("", "x", token[:-1], token + "x", "../" + token, '"', "%00"):
        forged.http.cookies.clear()
        forged.http.headers["Cookie"] = f"lineup_visitor={value}"
        assert NOT_YOURS in press(forged, "stop_job", id)
    assert press(starter, "stop_job", id)


def test_on_this_machine_everybody_is_the_owner(loopback_app: App) -> None:
    id = Visitor(loopback_app.address).compare("a red star", Steps="90")
    other = Visitor(loopback_app.address)
    press(other, "stop_job", id)
    assert "Stopped" in events(other, id)
    assert NOT_YOURS not in press(other, "run_again", id)


@pytest.mark.parametrize("event", [None, {}, {"run": 7}, {"run": None, "job": []}, [1], "x", 5])
@pytest.mark.parametrize("button", [*BUTTONS, "show_run"])
def test_a_button_of_a_run_that_is_not_there_is_a_sentence(
    loopback: str, button: str, event: object
) -> None:
    keys = [None] if button in ("retry", "run_again", "new_seed", "more") else []
    answer = Visitor(loopback).post(button, keys, event)
    assert answer.status_code in (200, 422, 500) and "Traceback" not in answer.text
    if answer.status_code == 200 and button != "show_run":
        assert NOT_YOURS in answer.text


def test_a_session_is_of_the_visitor_who_began_it(app: App) -> None:
    owner, thief = Visitor(app.address), Visitor(app.address)
    owner.call("estimate", Prompt="a star")
    thief.session = owner.session
    answer = thief.call("estimate", Prompt="a star")
    assert answer.status_code == 403 and "another browser" in answer.text
    for path in ("queue/data?session_hash=", "heartbeat/"):
        url = f"/gradio_api/{path}{owner.session}"
        assert thief.http.get(url).status_code == 403
    assert owner.call("estimate", Prompt="a star").status_code == 200


def test_a_visitor_is_not_told_what_the_owners_servers_and_folders_hold(
    public_app: App, loopback_app: App
) -> None:
    (public_app.home / "loras").mkdir(exist_ok=True)
    (public_app.home / "loras" / "private.safetensors").write_bytes(b"")
    told = Visitor(public_app.address).http.get("/lineup/options?backend=local&backend=a1111")
    assert told.json() == {"local": {}, "a1111": {}}
    (loopback_app.home / "loras").mkdir(exist_ok=True)
    (loopback_app.home / "loras" / "mine.safetensors").write_bytes(b"")
    told = Visitor(loopback_app.address).http.get("/lineup/options?backend=local&backend=x")
    assert told.json()["local"]["loras"] == ["mine"] and "x" not in told.json()
