"""The context shared by all tabs: settings, catalogue, and the one open Lineup of this process."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from backends import registry
from backends.base import Backend, Config
from compare.catalogue.catalogue import Catalogue
from compare.lineup import Lineup, open_lineup
from compare.records import Run
from compare.settings import Settings
from ui.control_maps import ControlMaps
from ui.uploads import Uploads

P = ParamSpec("P")
Result = TypeVar("Result")
Create = Callable[[str, Config], Backend]

HEAVY: Final = 4
"""Calls of `Context.off_loop` that run at the same time; the others wait."""
NOT_YOURS: Final = (
    "This run was started in another browser: from here it can only be looked at. Press Compare to "
    "start one like it."
)
FIRST = ("miniature/diffusion", "miniature/masked")


class Context:
    """Opens Lineup in the server's event loop, while the first page is served and not before.

    `first` are the ids of the models that are chosen on a fresh page. `public` is true if people
    other than the owner can reach the page. `create` makes a backend from its name.
    """

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        *,
        create: Create = registry.create,
        first: Sequence[str] = FIRST,
        public: bool = False,
    ) -> None:
        self.settings = settings.attended()
        self.catalogue = catalogue
        self.first = list(first)
        self.public = public
        self.uploads = Uploads(everyone=not public)
        self.maps = ControlMaps(map_folder(self))
        self._create = create
        self._heavy = asyncio.Semaphore(HEAVY)
        self._opening: asyncio.Task[Lineup] | None = None

    async def lineup(self) -> Lineup:
        """Return the open Lineup; raises `StoreError` where the data folder can't be used."""
        if self._opening is None:
            raise RuntimeError("The server has not started.")
        return await asyncio.shield(self._opening)

    async def visited(self) -> Lineup:
        """Return the open Lineup after adding and removing the user's models that have changed.

        Called when a tab is opened. Raises `StoreError` as `lineup` does.
        """
        lineup = await self.lineup()
        await lineup.catalogue.refresh()
        return lineup

    def may_change(self, run: Run, visitor: str) -> bool:
        """Return whether `visitor` may stop, retry or repeat `run` and bring pictures to it.

        On this machine alone everybody is its owner; at a public address it is the visitor who
        started the run. Looking at it takes no more than its link.
        """
        return not self.public or (visitor != "" and run.visitor == visitor)

    async def off_loop(
        self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """Run a function that takes long in a thread, at most `HEAVY` at a time."""
        async with self._heavy:
            return await asyncio.to_thread(function, *args, **kwargs)

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncGenerator[None, None]:
        """Keep Lineup open while the server runs; the server's `lifespan`."""
        async with AsyncExitStack() as stack:
            lineup = open_lineup(self.settings, catalogue=self.catalogue, create=self._create)
            self._opening = asyncio.ensure_future(stack.enter_async_context(lineup))
            # `lineup` raises a failure; this keeps asyncio from logging it as never retrieved.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
            try:
                yield
            finally:
                self._opening.cancel()
                await asyncio.wait([self._opening])


def map_folder(context: Context) -> Path:
    """Return the folder of the cached control maps, which Gradio serves as it is."""
    return context.settings.home.resolve() / "maps"
