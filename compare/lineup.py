"""Build and open a Lineup: the API for the command line, the app and Python users."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from backends.base import Backend, Config
from compare.catalogue.availability import Availability
from compare.catalogue.catalogue import Catalogue
from compare.catalogue.user_models import load_all
from compare.prompts.rewrite import Rewriter
from compare.runs.runner import Runner
from compare.settings import Settings
from compare.store.store import Store


@dataclass(frozen=True, slots=True)
class Lineup:
    """All parts of Lineup. Building it reads only the catalogue from disk; `open` does the rest."""

    settings: Settings
    catalogue: Catalogue
    store: Store
    availability: Availability
    runner: Runner
    rewriter: Rewriter

    async def open(self) -> None:
        """Open the store and end the jobs that a crash left.

        Raises:
            StoreError: the data folder cannot be used; the message says why.
        """
        await self.store.open()
        await self.availability.open()

    async def aclose(self) -> None:
        """Stop all runs and release everything."""
        await self.runner.aclose()
        await self.availability.aclose()
        await self.rewriter.aclose()
        await self.store.close()


def build(
    settings: Settings,
    *,
    catalogue: Catalogue | None = None,
    create: Callable[[str, Config], Backend] | None = None,
) -> Lineup:
    """Return a Lineup that is not open yet; `create` makes backends, by default the registry's."""
    if create is None:
        from backends.registry import create
    catalogue = catalogue or load_all(settings)
    store = Store(settings.home)
    availability = Availability(catalogue, create, settings, store)
    runner = Runner(store, availability, settings)
    return Lineup(settings, catalogue, store, availability, runner, Rewriter(settings))


@asynccontextmanager
async def open_lineup(
    settings: Settings,
    *,
    catalogue: Catalogue | None = None,
    create: Callable[[str, Config], Backend] | None = None,
) -> AsyncGenerator[Lineup, None]:
    """Build and open a Lineup, and close it at the end."""
    lineup = build(settings, catalogue=catalogue, create=create)
    try:
        await lineup.open()
        yield lineup
    finally:
        await lineup.aclose()
