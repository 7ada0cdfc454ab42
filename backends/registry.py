"""Backends by name, each imported at its first use. A new backend is one line in `BACKENDS`."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from backends.base import Backend, Config

BACKENDS: Mapping[str, str] = MappingProxyType(
    {
        "openai": "backends.openai:OpenAI",
        "google": "backends.google:Google",
        "huggingface": "backends.huggingface:HuggingFace",
        "a1111": "backends.a1111:A1111",
        "comfyui": "backends.comfyui:ComfyUI",
        "stability": "backends.stability:Stability",
        "midjourney": "backends.midjourney:Midjourney",
        "craiyon": "backends.craiyon:Craiyon",
        "local": "backends.local:Local",
        "miniature": "backends.local:Miniature",
    }
)

WITH_USER_MODELS = ("openai", "comfyui")
"""Backends whose `user_models` adds to the catalogue; reading it imports no other backend."""


class UnknownBackend(LookupError):
    """There is no backend with this name."""

    def __init__(self, name: str) -> None:
        known = ", ".join(sorted(BACKENDS))
        super().__init__(f"There is no backend {name!r}; there are {known}.")

    def __str__(self) -> str:
        return str(self.args[0])


def create(name: str, config: Config) -> Backend:
    """Return a new backend.

    Raises:
        UnknownBackend: no backend has this name.
    """
    return backend_class(name)(config)


def backend_class(name: str) -> type[Backend]:
    """Return the class behind `name`, for its label and its options.

    Raises:
        UnknownBackend: no backend has this name.
    """
    if name not in BACKENDS:
        raise UnknownBackend(name)
    module, _, attribute = BACKENDS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def options_of(name: str) -> type | None:
    """Return the dataclass of a backend's own options, None if it has none.

    Raises:
        UnknownBackend: no backend has this name.
    """
    return backend_class(name).Options
