"""The catalogue with what is the user's own: servers in OPENAI_SERVERS, workflows for ComfyUI."""

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from backends.base import Model
from backends.comfyui import library as workflows
from backends.errors import BadInput, NotReady
from backends.openai.credentials import servers
from compare.catalogue.catalogue import Catalogue, load
from compare.settings import Settings, SettingsError


def load_all(settings: Settings) -> Catalogue:
    """Read the catalogue, and add what the settings and the data folder list.

    Raises:
        BadEntry: the catalogue's file makes no sense.
        SettingsError: OPENAI_SERVERS cannot be read.
    """
    catalogue = load()
    try:
        named = servers(settings.config()).values()
    except NotReady as error:
        raise SettingsError(str(error)) from None
    found = [
        dataclasses.replace(
            catalogue.find(f"openai@{server.name}/{name}"), provider=f"your server {server.name}"
        )
        for server in named
        for name in server.models
    ]
    catalogue.models += tuple(found)
    return WithWorkflows(catalogue, settings.home)


class WithWorkflows(Catalogue):
    """A catalogue and the workflows in the data folder, each a model as its marked places say."""

    def __init__(self, listed: Catalogue, home: Path) -> None:
        self._listed = listed
        self._home = home
        self._seen = workflows.stamps(home)
        super().__init__((*listed.models, *self._own(self._seen)), listed.others)

    async def refresh(self) -> None:
        """Read the workflows again where a file has come, gone or changed."""
        if (look := await asyncio.to_thread(self._look)) is not None:
            # Here, and not in the thread: what a handler does in one go sees one catalogue.
            self._seen, self.models = look

    def _look(self) -> tuple[Mapping[str, object], tuple[Model, ...]] | None:
        """Return what there is now, None where that is what there was."""
        seen = workflows.stamps(self._home)
        return None if seen == self._seen else (seen, (*self._listed.models, *self._own(seen)))

    def _own(self, names: Mapping[str, object]) -> Iterator[Model]:
        """The workflows that can be read; a broken one is there too, and says what is wrong."""
        known = {model.id for model in self._listed.models}
        for name in names:
            id = f"comfyui/{name}"
            if id in known:
                continue  # the name is taken
            model = dataclasses.replace(self._listed.find(id), note="Your own workflow.")
            try:
                if (workflow := workflows.user_workflow(self._home, name)) is not None:
                    yield workflows.as_model(model, workflow)
            except BadInput as error:
                yield dataclasses.replace(model, note=str(error))
