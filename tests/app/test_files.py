"""Paths that come from a page: only a visitor's own uploads are opened."""

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.app.visitor import Visitor
from tests.app_process import App

OF_EVENTS = ("start_from", "control_with")
"""The handlers that take the path of a picture from an event of the page's scripts."""
HANDLERS = ("_receive", "_receive_1", "_use_drawing", *OF_EVENTS)
"""The handlers that take a file: a control picture, the start picture, a drawing, either again."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture on the server that nobody has uploaded."""
    file = tmp_path / "secret.png"
    Image.new("RGB", (40, 40), "red").save(file)
    return file


def give(visitor: Visitor, handler: str, path: object, **more: object) -> None:
    """Name a path to a handler that takes a file, as a page does after an upload."""
    file: Any = {"path": path, **more}
    if handler in OF_EVENTS:
        answer = visitor.post(handler, [], file)
    elif handler == "_use_drawing":
        visitor.lay_out("lu-prepare")
        answer = visitor.post(handler, [{"composite": file}])
    else:
        answer = visitor.post(handler, [file])
    assert "Traceback" not in answer.text


def used(app: App, visitor: Visitor) -> bool:
    """Start a run, and return whether it has a picture of the form."""
    assert visitor.compare()
    request = app.requests()[0]
    return bool(request["image"] or request["controls"])


@pytest.mark.parametrize("handler", HANDLERS)
def test_no_other_file_of_the_server_is_opened(
    app: App, handler: str, picture: Path, tmp_path: Path
) -> None:
    visitor = Visitor(app.address)
    (mine,) = visitor.upload(picture)
    (tmp_path / "link.png").symlink_to(picture)
    os.mkfifo(tmp_path / "pipe")
    files = [picture, tmp_path / "link.png", tmp_path / "pipe", tmp_path, app.home / "lineup.db"]
    paths = [*map(str, files), "/dev/zero", "/proc/self/environ", f"{mine}/../x", "", "\0"]
    for path in (*paths, 7, None, [mine], {"path": mine}, True):
        give(visitor, handler, path)
        give(visitor, handler, path, meta={"_type": "gradio.FileData"}, is_file=True)
        give(visitor, handler, path, url=app.address, size=10**12)
    assert not used(app, visitor)
    for file in (None, 7, "x", [], {}, [{"path": str(picture)}]):
        assert "Traceback" not in visitor.post(handler, [file], file).text
    assert not used(app, visitor)


@pytest.mark.parametrize("handler", HANDLERS)
def test_an_upload_is_used_as_it_is(app: App, handler: str, picture: Path) -> None:
    visitor = Visitor(app.address)
    (path,) = visitor.upload(picture)
    give(visitor, handler, path, meta={"_type": "gradio.FileData"})
    assert used(app, visitor)
    data = picture.read_bytes()
    assert (app.home / "controls" / sha256(data).hexdigest()).read_bytes() == data


def test_an_upload_is_of_one_visitor_alone(public_app: App, picture: Path) -> None:
    (path,) = Visitor(public_app.address).upload(picture)
    other = Visitor(public_app.address)
    for handler in HANDLERS:
        give(other, handler, path)
    assert not used(public_app, other)
    nobody = Visitor(public_app.address)
    nobody.http.cookies.clear()
    (path,) = nobody.upload(picture)
    give(nobody, "_receive_1", path)
    assert not used(public_app, nobody), "a browser without cookies is nobody, not everybody"


def test_an_upload_that_has_become_something_else_is_not_opened(
    app: App, picture: Path, tmp_path: Path
) -> None:
    visitor = Visitor(app.address)
    for number, (kind, sentence) in enumerate(
        {"link": "no longer here", "gone": "no longer here", "large": "larger than 50 MB"}.items()
    ):
        Image.new("RGB", (40, 41 + number), "blue").save(tmp_path / "mine.png")
        (path,) = visitor.upload(tmp_path / "mine.png")
        give(visitor, "_receive_1", path)
        Path(path).unlink()
        if kind == "link":
            Path(path).symlink_to(picture)
        if kind == "large":
            with Path(path).open("wb") as file:
                file.truncate(50_000_001)
        before = len(app.requests())
        answer = visitor.call("compare", Prompt="a star")
        assert answer.status_code == 200 and sentence in answer.text
        assert len(app.requests()) == before


def test_a_control_map_is_served_from_its_folder_and_copied_nowhere(
    app: App, picture: Path
) -> None:
    """The folder of maps has a limit in size, which copies in Gradio's folder would not have."""
    visitor = Visitor(app.address)
    (path,) = visitor.upload(picture)
    give(visitor, "_receive", path, meta={"_type": "gradio.FileData"})
    before = {file for file in (app.home / "uploads").rglob("*") if file.is_file()}
    urls = set[str]()
    for preprocessor in ("none", "invert"):
        drawn = visitor.post("_preview", [None, preprocessor, None]).json()["data"][0]
        answer = visitor.http.get(f"/gradio_api/file={drawn['path']}")
        assert answer.content == (app.home / "maps" / Path(drawn["path"]).name).read_bytes()
        urls.add(drawn["url"])
    assert len(urls) == 2
    assert {file for file in (app.home / "uploads").rglob("*") if file.is_file()} == before
