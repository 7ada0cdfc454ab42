"""How much of what visitors upload is kept."""

import os
from pathlib import Path

import pytest

from ui import uploads
from ui.uploads import NotUploaded, Uploads, read


def upload(folder: Path, name: str, size: int = 10) -> str:
    """Write a file as Gradio does with an upload; sparse, so that its size costs nothing."""
    path = folder / name
    path.touch()
    os.truncate(path, size)
    return str(path)


def test_a_visitor_pushes_out_their_own_oldest_uploads_and_nobody_elses(tmp_path: Path) -> None:
    kept = Uploads()
    other = upload(tmp_path, "other")
    kept.record("b", [other])
    mine = [upload(tmp_path, f"mine{n}", uploads.MAX_FILE) for n in range(7)]
    for path in mine:
        kept.record("a", [path])
    assert kept.claim("b", other) == Path(other) and Path(other).exists()
    assert [Path(path).exists() for path in mine] == [False] * 2 + [True] * 5
    with pytest.raises(NotUploaded, match="Choose its file again"):
        kept.claim("a", mine[0])


def test_all_together_are_limited(tmp_path: Path) -> None:
    kept = Uploads()
    paths = [upload(tmp_path, f"{n}", uploads.MAX_FILE) for n in range(42)]
    for number, path in enumerate(paths):
        kept.record(f"visitor {number}", [path])
    assert sum(Path(path).exists() for path in paths) == uploads.MAX_TOTAL // uploads.MAX_FILE


def test_a_device_is_not_read() -> None:
    for path in ("/dev/zero", "/dev/stdin", "/", "/nowhere", "\0"):
        with pytest.raises(NotUploaded):
            read(Path(path))
