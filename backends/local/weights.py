"""How many numbers a model's weights are, from the headers of their files alone.

A safetensors file begins with eight bytes that say how long its header is; the header is JSON with
the shape of every tensor (https://huggingface.co/docs/safetensors, "Format").
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_ENDING: Final = ".safetensors"
_LONGEST: Final = 100_000_000  # the library's own limit for a header
_SHARD: Final = re.compile(r"-\d{5}-of-\d{5}")


def weigh(path: Path, variant: str | None = None) -> Mapping[str, int]:
    """Count the weights of each part of the model at `path`: a folder, or one file.

    A file that cannot be read counts nothing here: whoever loads it says what is wrong.
    """
    if path.is_file():
        return {"": _count(path)}
    parts = [path, *sorted(folder for folder in path.iterdir() if folder.is_dir())]
    counts = {part.name: sum(map(_count, _files(part, variant))) for part in parts}
    return {name: count for name, count in counts.items() if count}


def _files(folder: Path, variant: str | None) -> list[Path]:
    """The files that would be read: those of the variant where there are any, else the plain."""
    files = sorted(folder.glob(f"*{_ENDING}"))
    stems = {file: _SHARD.sub("", file.name.removesuffix(_ENDING)) for file in files}
    own = [file for file, stem in stems.items() if variant and stem.endswith(f".{variant}")]
    return own or [file for file, stem in stems.items() if "." not in stem]


def _count(file: Path) -> int:
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header: dict[str, Any] = json.loads(opened.read(length)) if length < _LONGEST else {}
        shapes = (tensor["shape"] for name, tensor in header.items() if name != "__metadata__")
        return sum(math.prod(shape) for shape in shapes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0
