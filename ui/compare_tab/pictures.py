"""Pictures of the form: which file a field stands for, and its bytes.

A field holds a `PictureFile` in the session's state, which no page can write: only the handlers
here make one, from an upload of the same visitor or from a stored run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ui.compare_tab.sections import BadField, Fields
from ui.context import Context
from ui.uploads import NotUploaded, read
from ui.visitors import visitor_id


@dataclass(frozen=True, slots=True)
class PictureFile:
    """The file of a picture; `uploaded` says that its name is the visitor's own."""

    path: Path
    uploaded: bool = True


def receive(context: Context, file: object, request: gr.Request) -> PictureFile | None:
    """Return the upload that `file` names, None if it names none of this visitor's.

    `file` is what a component sends for a file, unconverted: {"path": ...}.
    """
    path = file.get("path") if isinstance(file, Mapping) else None
    try:
        return PictureFile(context.uploads.claim(visitor_id(request.headers), path))
    except NotUploaded:
        return None


async def with_bytes(context: Context, fields: Fields) -> Fields:
    """Return `fields` with the bytes of every picture in place of its file.

    Raises:
        BadField: a picture is no longer there or too large.
    """
    if not _has_picture(fields):
        return fields
    try:
        return await context.off_loop(_replaced, fields)
    except NotUploaded as error:
        raise BadField(str(error)) from error


def _has_picture(value: object) -> bool:
    if isinstance(value, PictureFile):
        return True
    if isinstance(value, Mapping):
        return any(map(_has_picture, value.values()))
    return isinstance(value, list) and any(map(_has_picture, value))


def _replaced(value: Any) -> Any:
    """Return a value of the form with pictures read; goes into lists and mappings. Blocks."""
    if isinstance(value, PictureFile):
        return read(value.path)
    if isinstance(value, Mapping):
        return {name: _replaced(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_replaced(each) for each in value]
    return value
