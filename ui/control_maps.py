"""The maps that the page shows of control pictures: made once each, and kept as files."""

import asyncio
import hashlib
from pathlib import Path
from typing import Final

from backends.base import Control
from backends.files import remove_abandoned, remove_oldest, write_atomically
from backends.local.control.maps import control_map

SIDE: Final = 512
"""The width and height of a map on the page, in pixels."""
MAX_BYTES: Final = 200_000_000
"""The most bytes of all maps; the oldest are removed beyond it."""


class ControlMaps:
    """The maps in `folder`. Belongs to one event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._making: dict[Path, asyncio.Task[Path]] = {}

    async def file(self, control: Control) -> Path:
        """Return the file of a control picture's map; all who ask at once wait for the same one.

        Raises:
            BackendError: the picture or a setting is invalid, or weights are not available.
        """
        settings = repr((control.preprocessor, sorted(control.parameters.items()))).encode()
        path = self._folder / f"{hashlib.sha256(settings + control.image).hexdigest()}.png"
        if path.exists():
            return path
        if path not in self._making:
            task = asyncio.create_task(self._make(control, path))
            self._making[path] = task
            task.add_done_callback(lambda _: self._making.pop(path, None))
        return await asyncio.shield(self._making[path])

    async def _make(self, control: Control, path: Path) -> Path:
        data = await control_map(control, SIDE, SIDE)
        await asyncio.to_thread(self._keep, path, data)
        return path

    def _keep(self, path: Path, data: bytes) -> None:
        write_atomically(path, data)
        remove_abandoned(self._folder)
        remove_oldest(self._folder, MAX_BYTES)
