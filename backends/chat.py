"""The contract of chat models, which rewrite prompts: text in, text out.

A chat uses the connections, credentials and error table of the image backend of the same service.
No call is retried.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from backends.base import Config, Model, Ready
from backends.errors import BackendError, BadInput, Refused, ServiceFault
from backends.hosted import readiness
from backends.http.client import ClientPool

if TYPE_CHECKING:
    import httpx2

CHATS: Mapping[str, str] = MappingProxyType(
    {
        "openai": "backends.openai.chat:OpenAIChat",
        "google": "backends.google.chat:GoogleChat",
        "huggingface": "backends.huggingface.chat:HuggingFaceChat",
    }
)


MAX_REPLY_BYTES: Final = 1_000_000
"""Bytes of an answer: a prompt has a hundredth of that, and the model's thoughts come with it."""

API: Final = "chat service"
"""The kind of service as error sentences name it, in place of an image service."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """The text of a chat model and its token counts, empty where the service gives none."""

    text: str
    usage: Mapping[str, int] = field(default_factory=dict[str, int])


class Chat(ABC):
    """A service with chat models; `suggested` names models that are known to exist."""

    label: ClassVar[str]
    suggested: ClassVar[tuple[str, ...]]

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        self.config = config
        self._clients = ClientPool(config, transport, max_bytes=MAX_REPLY_BYTES)

    @abstractmethod
    def credentials(self, server: str = "") -> object:
        """Return the address and the key, without a network call or a heavy import.

        Raises:
            BackendError: no request could be sent; the sentence says why.
        """

    def ready(self, server: str = "") -> Ready:
        """Return whether the settings are complete."""
        return readiness(lambda: self.credentials(server))

    @abstractmethod
    async def ask(self, model: str, instructions: str, text: str, *, server: str = "") -> Reply:
        """Send one request with `instructions` and `text`, and return the reply.

        Raises:
            BackendError: no text was returned; the sentence says why.
        """

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.aclose()


def create(name: str, config: Config) -> Chat:
    """Return a new instance of the chat service `name`.

    Raises:
        BadInput: no chat service has this name.
    """
    if name not in CHATS:
        raise BadInput(f"No chat service is called {name!r}; there are {', '.join(CHATS)}.")
    module, _, attribute = CHATS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)(config)


def as_model(service: str, name: str) -> Model:
    """Return a chat model in the form that the backends' error tables take."""
    return Model(id=f"{service}/{name}", label=name, family="", source=name)


def without_text(service: str, finish_reason: object) -> BackendError:
    """Return the error for a response without a text, or with an incomplete one."""
    match finish_reason:
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
