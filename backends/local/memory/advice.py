"""What to say when a model does not fit: what would, with numbers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from backends.local.job import ModelSpec
from backends.local.memory.devices import Device
from backends.local.memory.offload import footprint
from backends.local.options import OFFLOADS, QUANTIZATIONS

_GIGABYTE: Final = 1_000_000_000


def advice(
    recipe: ModelSpec,
    device: Device,
    counts: Mapping[str, int],
    itemsize: int,
    size: tuple[int, int],
) -> str:
    """The sentences for the card of `recipe`, which ran out of memory on `device` all alone.

    `counts` are the numbers that the weights of each part are, `itemsize` the bytes of one as
    they would be loaded, and `size` the picture's width and height.
    """
    needs = footprint(counts, recipe, itemsize).drawing
    helps: list[str] = []
    if needs < device.total:
        width, height = (side // 16 * 8 for side in size)
        helps.append(f"a smaller picture, such as {width}x{height}")
    for quantization in QUANTIZATIONS[1:]:
        takes = footprint(counts, replace(recipe, quantization=quantization), itemsize).drawing
        if takes < min(needs, device.total):
            helps.append(f"quantization to {quantization} ({_gigabytes(takes)} of weights)")
    for offload in OFFLOADS[1:]:
        lighter = footprint(counts, replace(recipe, offload=offload), itemsize)
        if device.ram is None or lighter.drawing >= min(needs, device.total):
            continue
        there = _gigabytes(lighter.drawing) if lighter.drawing else "hardly any"
        helps.append(f"offload '{offload}' ({there} of weights on the device at a time)")
    helps.append("a smaller model")
    takes = f"take {_gigabytes(needs)} of {_gigabytes(device.total)}"
    return (
        f"{recipe.label} does not fit into this machine's memory, not even alone and one picture "
        f"at a time: its weights {takes}. What would help: {_listed(helps)}."
    )


def _gigabytes(size: int) -> str:
    return f"{size / _GIGABYTE:,.1f} GB" if size >= _GIGABYTE // 10 else "less than 0.1 GB"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
