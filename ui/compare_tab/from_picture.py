"""From a picture on: start from it, control with it, use the settings that stand in it.

The picture is one of a stored run, which whoever may look at the run may use, or one that is
dropped or pasted on the page. The page names it by the run and its hash, or by the path that
Gradio's upload gave it; the file itself is found here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import gradio as gr

from backends.images import metadata
from backends.images.metadata import Found
from compare.runs.validation import COUNT, GUIDANCE, SEED, SIDE, STEPS
from compare.store.errors import StoreError
from ui.compare_tab import cost_line
from ui.compare_tab.control_list import ControlList
from ui.compare_tab.form import SharedSettings
from ui.compare_tab.pictures import PictureFile, receive
from ui.compare_tab.sections import Updates
from ui.compare_tab.start_picture import StartPicture
from ui.context import Context
from ui.events import QUEUED
from ui.page_files import call, script
from ui.uploads import NotUploaded, read

GONE: Final = "That picture is no longer here. Choose it again."
FIELDS: Final[Mapping[str, str]] = {
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "num_inference_steps": "Steps",
    "guidance_scale": "Guidance",
    "seed": "Seed",
}
"""The settings that the form can take as they are, with their names on the page."""
_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "num_inference_steps": STEPS,
    "guidance_scale": GUIDANCE,
    "seed": SEED,
    "width": SIDE,
    "height": SIDE,
    "count": COUNT,
}


class FromPicture:
    """Handles the events of `from_picture.js`; `message` is the line below the form."""

    def __init__(
        self,
        context: Context,
        *,
        settings: SharedSettings,
        start: StartPicture,
        controls: ControlList,
        message: gr.HTML,
    ) -> None:
        self._context = context
        self._settings, self._start, self._controls = settings, start, controls
        self._message = message
        events = ("dropped", "settings", "start", "control")
        self._page = gr.HTML(
            html_template='<div class="lu-from-picture"></div>',
            js_on_load=script("from_picture.js", events=events),
            apply_default_css=False,
            found={},
        )
        self._wire()

    def _wire(self) -> None:
        opened = [call("settings.js", "show", name) for name in ("start", "control")]
        self._page.dropped(self.look, None, [self._page, self._message], **QUEUED)
        self._page.settings(self.use, None, [*self._settings.outputs, self._message], **QUEUED)
        started = self._page.start(
            self.start_from, None, [*self._start.outputs, self._message], **QUEUED
        )
        started.then(None, js=opened[0])
        controlled = self._page.control(
            self.control_with, None, [*self._controls.outputs, self._message], **QUEUED
        )
        self._controls.preview_after(controlled)
        controlled.then(None, js=opened[1])

    async def look(self, event: gr.EventData, request: gr.Request) -> Updates:
        """Tell the page what stands in the picture that was dropped on it."""
        data = _data(event)
        file, wrong = await self._file(data, request)
        if file is None:
            return {self._message: wrong}
        found = await self._read(file)
        rows, left = describe(found) if found else ([], [])
        told = {
            "path": str(data.get("path", "")),
            "tool": found.tool if found else "",
            "rows": rows,
            "left": left,
        }
        return {self._page: gr.HTML(found=told)}

    async def use(self, event: gr.EventData, request: gr.Request) -> Updates:
        """Fill the form with the settings that stand in a picture; others stay as they are."""
        file, wrong = await self._file(_data(event), request)
        if file is None:
            return {self._message: wrong}
        found = await self._read(file)
        return self._settings.show(usable(found)) if found else {}

    async def start_from(self, event: gr.EventData, request: gr.Request) -> Updates:
        """Make a picture the start picture."""
        file, wrong = await self._file(_data(event), request)
        if file is None:
            return {self._message: wrong}
        return await self._context.off_loop(self._start.show, file)

    async def control_with(self, event: gr.EventData, request: gr.Request) -> Updates:
        """Make a picture the first control picture."""
        file, wrong = await self._file(_data(event), request)
        if file is None:
            return {self._message: wrong}
        return self._controls.use(file)

    async def _file(
        self, data: Mapping[str, Any], request: gr.Request
    ) -> tuple[PictureFile | None, str]:
        """Return the file of the picture that an event names; None and what is wrong as HTML."""
        if data.get("path"):
            file = receive(self._context, data, request)
        else:
            file = await self._stored(str(data.get("run", "")), str(data.get("sha", "")))
        return file, "" if file is not None else cost_line.problems({"": GONE})

    async def _stored(self, run_id: str, sha256: str) -> PictureFile | None:
        try:
            lineup = await self._context.lineup()
            run = await lineup.runner.get(run_id)
        except StoreError:
            return None
        pictures = [picture for job in run.jobs for picture in job.pictures] if run else []
        if not any(picture.sha256 == sha256 for picture in pictures):
            return None
        path = lineup.store.picture_path(sha256)
        return None if path is None else PictureFile(path, uploaded=False)

    async def _read(self, file: PictureFile) -> Found | None:
        try:
            return await self._context.off_loop(lambda: metadata.read(read(file.path)))
        except NotUploaded:
            return None


def usable(found: Found) -> dict[str, Any]:
    """Return the settings of `found` that the form can take, by the names of `Request`."""
    names = (*FIELDS, "width", "height")
    values = {name: getattr(found, name) for name in names}
    return {
        name: value for name, value in values.items() if value is not None and _fits(name, value)
    }


def describe(found: Found) -> tuple[list[tuple[str, str]], list[str]]:
    """Return what the form can take (name and text), and sentences about what it cannot."""
    values = usable(found)
    rows = [(label, str(values[name])) for name, label in FIELDS.items() if name in values]
    if "width" in values and "height" in values:
        rows.append(("Size", f"{values['width']} × {values['height']}"))
    others: Sequence[tuple[str, str | None]] = (
        ("sampler", found.scheduler),
        ("model", found.model),
        ("LoRA", ", ".join(found.loras) or None),
    )
    left = [f"{name} {value}" for name, value in others if value]
    left += [
        f"{label.lower()} {value}"
        for name, label in FIELDS.items()
        if (value := getattr(found, name)) is not None and name not in values
    ]
    return rows, left


def _fits(name: str, value: float | str) -> bool:
    least, most = _BOUNDS.get(name, (0, 0))
    return isinstance(value, str) or least <= value <= most


def _data(event: gr.EventData) -> Mapping[str, Any]:
    data = event._data  # pyright: ignore[reportPrivateUsage]
    return data if isinstance(data, Mapping) else {}
