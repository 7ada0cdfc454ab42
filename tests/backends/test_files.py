"""Files are whole or not there, whoever writes them at the same time and whenever it breaks off."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backends import files
from backends.files import remove_abandoned, remove_oldest, write_atomically
from backends.paths import PROJECT

WRITE = """
import sys
from pathlib import Path
from backends.files import write_atomically
for _ in range(40):
    write_atomically(Path(sys.argv[1]), bytes(200_000))
"""
WRITE_FOR_EVER = WRITE.replace("range(40)", "iter(int, 1)").replace("200_000", "20_000_000")


def run(code: str, file: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code, str(file)], cwd=PROJECT)


def test_many_writers_of_one_file_all_succeed(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "picture"
    others = [run(WRITE, file) for _ in range(2)]
    with ThreadPoolExecutor(16) as threads:
        written = [threads.submit(write_atomically, file, bytes(200_000)) for _ in range(200)]
        for each in written:
            each.result()
    assert [other.wait(60) for other in others] == [0, 0]
    assert [each.name for each in file.parent.iterdir()] == ["picture"]
    assert file.stat().st_size == 200_000


def test_a_writer_that_is_killed_leaves_no_part_under_the_name(tmp_path: Path) -> None:
    file = tmp_path / "picture"
    for _ in range(3):
        writer = run(WRITE_FOR_EVER, file)
        deadline = time.monotonic() + 30
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        writer.kill()
        writer.wait()
        assert file.stat().st_size == 20_000_000
        file.unlink()
    parts = list(tmp_path.iterdir())
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == parts, "somebody may be writing them"
    long_ago = time.time() - 2 * files.ABANDONED_SECONDS
    for part in parts:
        os.utime(part, (long_ago, long_ago))
    remove_abandoned(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_oldest_go_first(tmp_path: Path) -> None:
    for number in range(5):
        file = tmp_path / str(number)
        file.write_bytes(bytes(10))
        os.utime(file, (number, number))
    remove_oldest(tmp_path, 25)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["3", "4"]
    remove_oldest(tmp_path, 25)
    assert len(list(tmp_path.iterdir())) == 2
