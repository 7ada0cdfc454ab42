"""The workflows that can be drawn with: those that ship with Lineup, and the user's own.

A file `NAME.json` in the folder `workflows` of Lineup's data folder is the model `comfyui/NAME`.
It takes what its places say; what it has no place for is shown as not honoured.
"""

import itertools
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from backends.base import Model, Sizes, Value
from backends.comfyui.placeholders import numbered
from backends.comfyui.workflow import Graph, Workflow, parse, with_controls
from backends.errors import BadInput
from backends.paths import ASSETS

FOLDER = "workflows"
PICTURE = "control picture"
_SHIPPED = ASSETS / "workflows"
_FIELDS = {
    "negative_prompt": "negative prompt",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "strength": "strength",
}


def stamps(home: Path) -> Mapping[str, object]:
    """Return the names of the user's own workflows, each with what changes when its file does.

    A few microseconds for each file, none of which is read.
    """
    found: dict[str, object] = {}
    for file in _files(home):
        try:
            about = file.stat()
        except OSError:
            continue  # it has just gone
        if stat.S_ISREG(about.st_mode):
            found[file.stem] = (about.st_mtime_ns, about.st_size, about.st_ino)
    return found


def user_workflow(home: Path, name: str) -> Workflow | None:
    """Return the user's workflow called `name`, None where there is none.

    Raises:
        BadInput: there is one, but it cannot be drawn with.
    """
    # The name may be a stranger's: it is compared with what is there, and never made a path.
    for file in _files(home):
        if file.stem == name:
            return _read(file)
    return None


def shipped_workflow(*, controls: int, start: bool) -> Workflow:
    """Return the workflow for a plain checkpoint, with control pictures, a start picture."""
    kind = "picture-to-picture" if start else "text-to-image"
    workflow = _read(_SHIPPED / f"{kind}{'-with-control' if controls else ''}.json")
    return with_controls(workflow, controls) if controls > 1 else workflow


def count_controls(workflow: Workflow) -> int:
    """Return how many control pictures a workflow has places for."""
    numbers = itertools.count(1)
    return next(n for n in numbers if numbered(PICTURE, n) not in workflow.placeholders) - 1


def as_model(model: Model, workflow: Workflow) -> Model:
    """Return `model` as the places of its workflow say that it is."""
    places = workflow.placeholders
    supports = {field for field, place in _FIELDS.items() if place in places}
    supports |= {"seed"} if "seed" in places else set()
    supports |= {"count"} if {"seed", "count"} & places.keys() else set()
    supports |= {"image"} if "start picture" in places else set()
    controls = count_controls(workflow)
    defaults: dict[str, Value] = {}
    for field, place in _FIELDS.items():
        if (own := workflow.current(place)) is not None:
            defaults[field] = own
    return replace(
        model,
        supports=frozenset(supports | ({"controls"} if controls else set())),
        sizes=_sizes(workflow),
        defaults=defaults,
        controls={"*": ""} if controls else {},
        most_controls=controls,
    )


def _sizes(workflow: Workflow) -> Sizes:
    width, height = workflow.current("width"), workflow.current("height")
    if isinstance(width, int) and isinstance(height, int):
        return Sizes(native=((width, height),))
    if {"width", "height"} <= workflow.placeholders.keys():
        return Sizes()
    return Sizes(native=(_fixed_size(workflow.graph),), only_native=True)


def _fixed_size(graph: Graph) -> tuple[int, int]:
    """The size that a workflow without places for it seems to have; its pictures tell for sure."""
    inputs: Iterable[dict[str, object]] = (node["inputs"] for node in graph.values())
    for each in inputs:
        width, height = each.get("width"), each.get("height")
        if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
            return width, height
    return Sizes().native[0]


def _files(home: Path) -> Sequence[Path]:
    """The files that may be workflows, but those with a name that no page can show."""
    try:
        found = sorted((home / FOLDER).glob("*.json"))
    except OSError:
        return ()  # a folder that cannot be looked into
    return [file for file in found if file.stem == file.stem.encode(errors="ignore").decode()]


def _read(file: Path) -> Workflow:
    try:
        return parse(file.read_text(encoding="utf-8-sig"), file.stem)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The workflow {file.stem} cannot be read. Export it again.") from error
