"""A prompt rewritten by a chat model, at a person's wish and before their eyes.

A rewrite costs money that no price list here knows, so no budget can hold it: its cost is said to
be unknown, and at a public address it is paid with the visitor's own key, never with the owner's.
What was written first is kept with the run.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from backends import chat
from backends.base import Config, Readiness, Ready, Request
from backends.chat import CHATS, Chat
from backends.errors import BackendError, BadInput, MissingKey, ServiceFault
from backends.registry import backend_class
from compare.runs.validation import MOST_PROMPT
from compare.settings import Settings
from compare.visitor_keys import typed_key

INSTRUCTIONS = """\
You rewrite prompts for text-to-image models. Say the same thing so that it can be drawn: name the \
subject first, then what it looks like, where it is, the light, the medium or style, the framing. \
Add concrete, visible detail where the prompt is vague; change nothing that it says: not the \
subjects, their number, colours, places or names, and not a word within quotation marks. Leave \
{a|b} and __name__ as they are. Keep its language. Write at most 80 words in plain phrases. \
Answer with the new prompt alone."""

OWN = "At a public address a rewrite takes your own key: type it in the Keys tab."
_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»", "'": "'"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewritten:
    """A rewritten prompt, the one it was made of, and what is known of the price."""

    prompt: str
    original: str
    by: str
    seconds: float
    usage: Mapping[str, int]

    def of(self, request: Request) -> Request:
        """Return `request` with this prompt in place of the original, and the record of both."""
        return replace(
            request, prompt=self.prompt, original_prompt=self.original, rewritten_by=self.by
        )

    @property
    def cost(self) -> str:
        """What it cost, in words: the tokens are counted, their price is not known here."""
        tokens = sum(self.usage.values())
        return f"{tokens:,} tokens, cost unknown" if tokens else "cost unknown"


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A chat model that is known to be there, and whether it can be asked now."""

    id: str
    label: str
    ready: Ready


class Rewriter:
    """Asks chat models; their ids are `service:model`, or `openai@server:model`."""

    def __init__(
        self, settings: Settings, create: Callable[[str, Config], Chat] = chat.create
    ) -> None:
        self._settings = settings
        self._config = settings.without_lent_keys().config()
        self._create = create
        self._chats: dict[str, Chat] = {}

    def models(self) -> list[ChatModel]:
        """Return the chat models to choose from, those that can be asked now first."""
        found: list[ChatModel] = []
        for name in CHATS:
            service = self._chat(name)
            ready = service.ready() if self._may_ask(name) else Ready(Readiness.NEEDS_KEY, OWN)
            found += [
                ChatModel(f"{name}:{model}", f"{service.label} · {model}", ready)
                for model in service.suggested
            ]
        return sorted(found, key=lambda model: model.ready.state is not Readiness.READY)

    async def rewrite(self, prompt: str, model_id: str) -> Rewritten:
        """Ask a chat model once.

        Raises:
            BackendError: there is no such model, or it did not answer with a prompt.
        """
        service, colon, model = model_id.strip().partition(":")
        if not (colon and model.strip()):
            raise BadInput(
                f"{model_id!r} is no chat model. Write service and model, like openai:gpt-5.4-mini."
            )
        if not prompt.strip():
            raise BadInput("The prompt is empty. Write what the picture should show.")
        name, _, server = service.strip().partition("@")
        started = time.perf_counter()
        try:
            asked = self._chat(name)
            if not self._may_ask(name, server):
                raise MissingKey(OWN)
            reply = await asked.ask(model.strip(), INSTRUCTIONS, prompt, server=server)
            text = await asyncio.to_thread(_tidy, reply.text)
        except BackendError as error:
            raise error.redacted(self._settings.hide) from error.__cause__
        return Rewritten(
            prompt=text,
            original=prompt,
            by=f"{service.strip()}:{model.strip()}",
            seconds=time.perf_counter() - started,
            usage=reply.usage,
        )

    async def aclose(self) -> None:
        """Let go of connections."""
        for each in self._chats.values():
            await each.aclose()
        self._chats.clear()

    def _may_ask(self, name: str, server: str = "") -> bool:
        """Whether this visitor may: at a public address with a key of their own for the service.

        Without that, a server of the owner's that asks for no key would chat with everybody.
        """
        if not self._settings.public:
            return True
        return not server and any(typed_key(key.setting) for key in backend_class(name).keys)

    def _chat(self, name: str) -> Chat:
        if name not in self._chats:
            self._chats[name] = self._create(name, self._config)
        return self._chats[name]


def recorded(request: Request, original: str, by: str, rewritten: str) -> Request:
    """Return `request` with the record of its rewrite, unless it has become another prompt.

    A person may work on a rewritten prompt before it is drawn; what shares less than half of its
    letters, by threes, with the rewritten one is no rewrite any more.
    """
    if not by or not original:
        return request
    threes = _threes(request.prompt)
    if 2 * len(threes & _threes(rewritten)) < len(threes):
        return request
    return replace(request, original_prompt=original, rewritten_by=by)


def _threes(text: str) -> set[str]:
    text = text.casefold()
    return {text[at : at + 3] for at in range(max(1, len(text) - 2))}


def _tidy(text: str) -> str:
    """Return the prompt itself: without the fence or the quotation marks around it.

    Raises:
        ServiceFault: nothing is left of it, or it is no prompt for its length.
    """
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and len(text) > 6:
        text = text.strip("`").partition("\n")[2].strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text.count(text[-1]) < 3:
        text = text[1:-1].strip()
    if not text or len(text) > MOST_PROMPT:
        raise ServiceFault(
            "The chat model answered, but not with a prompt. Try again, or choose another one."
        )
    return text
