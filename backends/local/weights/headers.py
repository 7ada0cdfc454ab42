"""How many numbers a model's weights are and of what kind, from the headers of their files alone.

A safetensors file begins with eight bytes that say how long its header is; the header is JSON with
the shape and the number format of every tensor (https://huggingface.co/docs/safetensors, "Format").
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

_ENDING: Final = ".safetensors"
_LONGEST: Final = 100_000_000  # the library's own limit for a header
_SHARD: Final = re.compile(r"-\d{5}-of-\d{5}")


def count_parameters(path: Path, variant: str | None = None) -> Mapping[str, int]:
    """Count the weights of each part of the model at `path`: a folder, or one file.

    What lies in no part's folder is the part "".
    A file that cannot be read counts nothing here: whoever loads it says what is wrong.
    """
    if path.is_file():
        return {"": sum(count for _, count in _tensors([path]))}
    counts = {
        name: sum(count for _, count in _tensors(_files(part, variant)))
        for name, part in _parts(path).items()
    }
    return {name: count for name, count in counts.items() if count}


def integer_weights(path: Path, variant: str | None = None) -> str | None:
    """The part of the model in the folder `path` whose weights are integers, if there is one.

    Libraries read them without a word, and draw noise. Quantized weights are integers too, but
    come with the settings that turn them back.
    """
    for name, part in _parts(path).items():
        tensors = list(_tensors(_files(part, variant)))
        whole = sum(count for kind, count in tensors if kind.lstrip("U").startswith(("I", "BOOL")))
        if 2 * whole > sum(count for _, count in tensors) and not _quantized(part):
            return name
    return None


def _parts(folder: Path) -> dict[str, Path]:
    inner = sorted(each for each in folder.iterdir() if each.is_dir())
    return {"": folder, **{each.name: each for each in inner}}


def _quantized(part: Path) -> bool:
    try:
        return "quantization_config" in json.loads((part / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False


def _files(folder: Path, variant: str | None) -> list[Path]:
    """The files that would be read: those of the variant where there are any, else the plain."""
    files = sorted(folder.glob(f"*{_ENDING}"))
    stems = {file: _SHARD.sub("", file.name.removesuffix(_ENDING)) for file in files}
    own = [file for file, stem in stems.items() if variant and stem.endswith(f".{variant}")]
    return own or [file for file, stem in stems.items() if "." not in stem]


def _tensors(files: list[Path]) -> Iterator[tuple[str, int]]:
    """The number format and the count of numbers of every tensor in readable files."""
    for file in files:
        try:
            with file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                read = opened.read(length) if length < _LONGEST else b"{}"
            header: dict[str, Any] = json.loads(read)
            header.pop("__metadata__", None)
            yield from [(str(one["dtype"]), math.prod(one["shape"])) for one in header.values()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
