"""The available workflows: those that ship with Lineup, and those of the user.

A file `NAME.json` in the folder `workflows` of Lineup's data folder is the model `comfyui/NAME`.
Its placeholders decide which inputs the model supports; other inputs are shown as not honoured.
"""

import itertools
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from backends.base import FindModel, Model, Sizes, UserModels, Value
from backends.comfyui.placeholders import (
    CONTROL_PICTURE,
    COUNT,
    GUIDANCE,
    HEIGHT,
    INIT_IMAGE,
    NEGATIVE_PROMPT,
    SEED,
    STEPS,
    STRENGTH,
    WIDTH,
)
from backends.comfyui.workflow import Graph, Workflow, parse, with_controls
from backends.errors import BadInput
from backends.paths import ASSETS

FOLDER = "workflows"
_SHIPPED = ASSETS / "workflows"
_FIELDS = {
    "negative_prompt": NEGATIVE_PROMPT,
    "num_inference_steps": STEPS,
    "guidance_scale": GUIDANCE,
    "strength": STRENGTH,
}


def stamps(home: Path) -> Mapping[str, object]:
    """Return the names of the user's workflows, each with a stamp that changes with its file.

    The stamp is made of modification time, size and inode: a few microseconds for each file,
    without reading it.
    """
    found: dict[str, object] = {}
    for file in _files(home):
        try:
            status = file.stat()
        except OSError:
            continue  # removed since it was listed
        if stat.S_ISREG(status.st_mode):
            found[file.stem] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def user_models(home: Path) -> UserModels:
    """Return a model for each of the user's workflows.

    A workflow that cannot be used is a model too, whose note says what is wrong with it.
    """
    found = stamps(home)

    def read(find: FindModel) -> Iterator[Model]:
        for name in found:
            model = replace(find(f"comfyui/{name}"), note="Your own workflow.")
            try:
                if (workflow := user_workflow(home, name)) is not None:
                    yield as_model(model, workflow)
            except BadInput as error:
                yield replace(model, note=str(error))

    return UserModels(found, read)


def user_workflow(home: Path, name: str) -> Workflow | None:
    """Return the user's workflow `name`, None if there is no such file.

    Raises:
        BadInput: the file is not a usable workflow.
    """
    # The name may come from a stranger: compare it with the files there, never build a path of it.
    for file in _files(home):
        if file.stem == name:
            return _read(file)
    return None


def fault(home: Path, name: str) -> str:
    """Return why the user's workflow `name` cannot be used, "" if it can or does not exist.

    Files are read anew where they have changed.
    """
    for file in _files(home):
        if file.stem == name:
            return _fault(file, stamps(home).get(name))
    return ""


@lru_cache(maxsize=256)
def _fault(file: Path, stamp: object) -> str:
    """Return why `file` cannot be used; `stamp` is its state, a key of the cache."""
    try:
        _read(file)
    except BadInput as error:
        return str(error)
    return ""


def shipped_workflow(*, controls: int, start: bool) -> Workflow:
    """Return the workflow for a plain checkpoint with `controls` control pictures.

    `start` selects the workflow that takes an initial image.
    """
    kind = "picture-to-picture" if start else "text-to-image"
    workflow = _read(_SHIPPED / f"{kind}{'-with-control' if controls else ''}.json")
    return with_controls(workflow, controls) if controls > 1 else workflow


def count_controls(workflow: Workflow) -> int:
    """Return the number of control pictures that a workflow takes."""
    indices = itertools.count(1)
    known = workflow.placeholders
    return next(n for n in indices if CONTROL_PICTURE.for_control(n) not in known) - 1


def as_model(model: Model, workflow: Workflow) -> Model:
    """Return `model` with the features, sizes and defaults that its placeholders imply."""
    placeholders = workflow.placeholders
    supports = {field for field, placeholder in _FIELDS.items() if placeholder in placeholders}
    supports |= {"seed"} if SEED in placeholders else set()
    supports |= {"count"} if {SEED, COUNT} & placeholders.keys() else set()
    supports |= {"image"} if INIT_IMAGE in placeholders else set()
    controls = count_controls(workflow)
    defaults: dict[str, Value] = {}
    for field, placeholder in _FIELDS.items():
        if (default := workflow.current(placeholder)) is not None:
            defaults[field] = default
    return replace(
        model,
        supports=frozenset(supports | ({"controls"} if controls else set())),
        sizes=_sizes(workflow),
        defaults=defaults,
        controls={"*": ""} if controls else {},
        most_controls=controls,
    )


def _sizes(workflow: Workflow) -> Sizes:
    width, height = workflow.current(WIDTH), workflow.current(HEIGHT)
    if isinstance(width, int) and isinstance(height, int):
        return Sizes(native=((width, height),))
    if {WIDTH, HEIGHT} <= workflow.placeholders.keys():
        return Sizes()
    return Sizes(native=(_fixed_size(workflow.graph),), only_native=True)


def _fixed_size(graph: Graph) -> tuple[int, int]:
    """Guess the size of a workflow without placeholders for it; only its pictures tell for sure."""
    inputs: Iterable[dict[str, object]] = (node["inputs"] for node in graph.values())
    for each in inputs:
        width, height = each.get("width"), each.get("height")
        if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
            return width, height
    return Sizes().native[0]


def _files(home: Path) -> Sequence[Path]:
    """Return the files that may be workflows, without names that cannot be encoded for a page."""
    try:
        found = sorted((home / FOLDER).glob("*.json"))
    except OSError:
        return ()  # the folder is not readable
    return [file for file in found if file.stem == file.stem.encode(errors="ignore").decode()]


def _read(file: Path) -> Workflow:
    try:
        return parse(file.read_text(encoding="utf-8-sig"), file.stem)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The workflow {file.stem} cannot be read. Export it again.") from error
