"""Lineup with the backend of backends/README.md added to it, in a folder of its own.

Nothing is done here but what that page says: one file, one line, one row, one harness.
"""

import re
import shutil
from pathlib import Path

from backends.paths import PROJECT

README = (PROJECT / "backends" / "README.md").read_text(encoding="utf-8")
HARNESS = Path(__file__).with_name("toy_harness.py")


def block(language: str) -> str:
    """Return the page's only block of code in `language`."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return found


def grow(folder: Path) -> Path:
    """Copy Lineup to `folder` and add the backend as the page says; return the folder."""
    left_out = shutil.ignore_patterns("__pycache__", "browser", "bench")
    for name in ("backends", "compare", "ui", "tests"):
        shutil.copytree(PROJECT / name, folder / name, ignore=left_out)
    (folder / "assets").mkdir()
    for part in (PROJECT / "assets").iterdir():
        if part.name != "models.toml":
            (folder / "assets" / part.name).symlink_to(part)
    for name in ("app.py", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    (folder / "backends" / "squares.py").write_text(block("python"), encoding="utf-8")
    (line,) = re.findall(r'`("squares": .+?,)`', README)
    registry = folder / "backends" / "registry.py"
    before, opening, after = registry.read_text("utf-8").partition("BACKENDS")
    head, brace, rest = after.partition("{\n")
    registry.write_text(f"{before}{opening}{head}{brace}        {line}\n{rest}", encoding="utf-8")
    rows = (PROJECT / "assets" / "models.toml").read_text("utf-8")
    (folder / "assets" / "models.toml").write_text(f"{rows}\n{block('toml')}", encoding="utf-8")
    harness = folder / "tests" / "backends" / "squares"
    harness.mkdir()
    (harness / "__init__.py").touch()
    shutil.copy(HARNESS, harness / "harness.py")
    return folder
