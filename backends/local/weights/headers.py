"""Parameter counts and number formats of weights, read from the headers of safetensors files.

A safetensors file begins with the length of its header in eight bytes; the header is JSON with the
shape and the number format of every tensor (https://huggingface.co/docs/safetensors, "Format").
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_ENDING: Final = ".safetensors"
_MAX_HEADER: Final = 100_000_000  # the library's own limit for a header
_SHARD: Final = re.compile(r"-\d{5}-of-\d{5}")


@dataclass(frozen=True, slots=True)
class Header:
    """The number format and shape of every tensor of a file, by name, and the file's metadata."""

    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    metadata: Mapping[str, str]


def count_parameters(path: Path, variant: str | None = None) -> Mapping[str, int]:
    """Return the parameter count of each component of the model at `path`, a folder or a file.

    Files outside all components' folders count for the component "".
    An unreadable file counts as 0: loading it raises the error.
    """
    if path.is_file():
        return {"": sum(count for _, count in _tensors([path]))}
    counts = {
        name: sum(count for _, count in _tensors(_weight_files(part, variant)))
        for name, part in _component_folders(path).items()
    }
    return {name: count for name, count in counts.items() if count}


def integer_weights(path: Path, variant: str | None = None) -> str | None:
    """Return the component of the model in the folder `path` whose weights are integers, if any.

    Libraries load integers without an error and then draw noise. Quantized weights are integers
    too, but have the settings for dequantization beside them.
    """
    for name, part in _component_folders(path).items():
        tensors = list(_tensors(_weight_files(part, variant)))
        integers = sum(
            count for kind, count in tensors if kind.lstrip("U").startswith(("I", "BOOL"))
        )
        if 2 * integers > sum(count for _, count in tensors) and not _quantized(part):
            return name
    return None


def _component_folders(folder: Path) -> dict[str, Path]:
    inner = sorted(each for each in folder.iterdir() if each.is_dir())
    return {"": folder, **{each.name: each for each in inner}}


def _quantized(part: Path) -> bool:
    try:
        return "quantization_config" in json.loads((part / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False


def _weight_files(folder: Path, variant: str | None) -> list[Path]:
    """Return the files that would be loaded: those of the variant if any, else the plain ones."""
    files = sorted(folder.glob(f"*{_ENDING}"))
    stems = {file: _SHARD.sub("", file.name.removesuffix(_ENDING)) for file in files}
    matching = [file for file, stem in stems.items() if variant and stem.endswith(f".{variant}")]
    return matching or [file for file, stem in stems.items() if "." not in stem]


def read_header(file: Path) -> Header | None:
    """Return the header of a safetensors file, None if it is not readable."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            read = opened.read(length) if length < _MAX_HEADER else b"{}"
        header: dict[str, Any] = json.loads(read)
        metadata: Any = header.pop("__metadata__", None) or {}
        return Header(
            {name: (str(one["dtype"]), tuple(one["shape"])) for name, one in header.items()},
            {str(name): str(value) for name, value in metadata.items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _tensors(files: list[Path]) -> Iterator[tuple[str, int]]:
    """Yield the number format and the element count of every tensor in readable files."""
    for header in filter(None, map(read_header, files)):
        yield from ((dtype, math.prod(shape)) for dtype, shape in header.tensors.values())
