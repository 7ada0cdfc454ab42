"""The seam to chat models, which rewrite prompts: text goes in, text comes out.

One call, never sent twice by itself, over the connections, keys and error sentences of the backend
that draws with the same service.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from backends.base import Config, Model, Ready
from backends.errors import BackendError, BadInput, Refused, ServiceFault

CHATS: Mapping[str, str] = MappingProxyType(
    {
        "openai": "backends.openai.chat:OpenAIChat",
        "google": "backends.google.chat:GoogleChat",
        "huggingface": "backends.huggingface.chat:HuggingFaceChat",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a chat model said, and the tokens that it counted; empty where it does not say."""

    text: str
    usage: Mapping[str, int] = field(default_factory=dict[str, int])


class Chat(ABC):
    """One service that chats; `suggested` names models that are known to be there."""

    label: ClassVar[str]
    suggested: ClassVar[tuple[str, ...]]

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def ready(self, server: str = "") -> Ready:
        """Say whether there is a key, without a network call or a heavy import."""

    @abstractmethod
    async def ask(self, model: str, instructions: str, text: str, *, server: str = "") -> Reply:
        """Send `text` once, and return what comes of it.

        Raises:
            BackendError: no text came, and why.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of connections."""


def create(name: str, config: Config) -> Chat:
    """Return a new chat service.

    Raises:
        BadInput: there is none of this name.
    """
    if name not in CHATS:
        raise BadInput(f"No chat service is called {name!r}; there are {', '.join(CHATS)}.")
    module, _, attribute = CHATS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)(config)


def as_model(service: str, name: str) -> Model:
    """Return a chat model as the backends' error sentences want it."""
    return Model(id=f"{service}/{name}", label=name, family="", source=name)


def of_chat(fault: BackendError) -> BackendError:
    """Return a fault that the backend for pictures has put into words, in those of a chat."""
    fault.args = (str(fault).replace("no image service", "no chat service"), *fault.args[1:])
    return fault


def without_text(service: str, finish: object) -> BackendError:
    """Return what it means that an answer has no text, or half of one."""
    match finish:
        case "content_filter" | "refusal":
            return Refused(f"{service} declined to rewrite the prompt. Change it and try again.")
        case "length":
            return ServiceFault(
                f"{service} stopped in the middle of its answer. Choose another chat model."
            )
        case _:
            return ServiceFault(
                f"{service} answered without a text. Look at your usage page before you try again."
            )
