"""The context shared by all tabs: settings, catalogue, and the one open Lineup of this process."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from backends import registry
from backends.base import Backend, Config
from compare.catalogue.catalogue import Catalogue
from compare.lineup import Lineup, open_lineup
from compare.settings import Settings

Create = Callable[[str, Config], Backend]
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
        self._create = create
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
    """Return the folder of the cached control maps, which Gradio must be allowed to serve."""
    return context.settings.home.resolve() / "maps"
