"""The catalogue with the user's own models, which backends find in settings and the data folder."""

import asyncio
from collections.abc import Sequence

from backends.base import Config, Model, UserModels
from backends.errors import NotReady
from backends.registry import WITH_USER_MODELS, backend_class
from compare.catalogue.catalogue import Catalogue, load
from compare.settings import Settings, SettingsError


def load_all(settings: Settings) -> Catalogue:
    """Read the catalogue's file, and add the user's own models.

    Raises:
        CatalogueError: the catalogue's file is invalid.
        SettingsError: a setting that lists models cannot be read.
    """
    try:
        return UserCatalogue(load(), settings.config())
    except NotReady as error:
        raise SettingsError(str(error)) from None


class UserCatalogue(Catalogue):
    """The listed models, followed by the user's own ones whose ids are not listed."""

    def __init__(self, listed: Catalogue, config: Config) -> None:
        self._listed = listed
        self._config = config
        found = self._find()
        self._versions = [each.version for each in found]
        super().__init__(self._merge(found), listed.others)

    async def refresh(self) -> None:
        """Read the user's models again where they have changed."""
        if (changed := await asyncio.to_thread(self._read_changed)) is not None:
            # Assigned on the event loop and not in the thread: a handler sees one catalogue
            # between two awaits.
            self._versions, self.models = changed

    def _read_changed(self) -> tuple[list[object], tuple[Model, ...]] | None:
        """Return the present versions and models, None if nothing has changed."""
        found = self._find()
        versions = [each.version for each in found]
        return None if versions == self._versions else (versions, self._merge(found))

    def _find(self) -> list[UserModels]:
        return [backend_class(name).user_models(self._config) for name in WITH_USER_MODELS]

    def _merge(self, found: Sequence[UserModels]) -> tuple[Model, ...]:
        known = {model.id for model in self._listed.models}
        own = (model for each in found for model in each.read(self._listed.find))
        return (*self._listed.models, *(model for model in own if model.id not in known))
