"""Where the project's own files are; the only module that asks for its own place on disk."""

from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).absolute().parents[1]
ASSETS: Final = PROJECT / "assets"
MINIATURES: Final = ASSETS / "miniatures"
