"""Rewrite prompts with a chat model, on request.

The price of a rewrite is in no price list, so the daily budget cannot cover it: its cost is shown
as unknown, and at a public address it is paid with the visitor's own key, never with the owner's.
The original prompt is stored with the run.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from backends import chat
from backends.base import Config, Readiness, Ready
from backends.chat import CHATS, Chat
from backends.errors import BackendError, BadInput, MissingKey, ServiceFault
from backends.registry import backend_class
from compare.prompts import MAX_PROMPT
from compare.records import RunSpec
from compare.redaction import clean_text
from compare.settings import Settings
from compare.visitor_keys import typed_key

INSTRUCTIONS = """\
You rewrite prompts for text-to-image models. Say the same thing so that it can be drawn: name the \
subject first, then what it looks like, where it is, the light, the medium or style, the framing. \
Add concrete, visible detail where the prompt is vague; change nothing that it says: not the \
subjects, their number, colours, places or names, and not a word within quotation marks. Leave \
{a|b} and __name__ as they are. Keep its language. Write at most 80 words in plain phrases. \
Answer with the new prompt alone."""

NEEDS_OWN_KEY = "At a public address a rewrite takes your own key: type it in the Keys tab."
_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»", "'": "'"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewritten:
    """A rewritten prompt, its original, and the usage of the chat model."""

    prompt: str
    original: str
    by: str
    seconds: float
    usage: Mapping[str, int]

    def apply(self, spec: RunSpec) -> RunSpec:
        """Return `spec` with the rewritten prompt, and with the original in its provenance."""
        request = replace(spec.request, prompt=self.prompt)
        return _with_rewrite(replace(spec, request=request), self.original, self.by)

    @property
    def cost(self) -> str:
        """The cost as text: the tokens are counted, their price is unknown."""
        tokens = sum(self.usage.values())
        return f"{tokens:,} tokens, cost unknown" if tokens else "cost unknown"


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A suggested chat model, and whether it can be used now."""

    id: str
    label: str
    ready: Ready


class Rewriter:
    """Rewrites with chat models; their ids are `service:model`, or `openai@server:model`."""

    def __init__(
        self, settings: Settings, create: Callable[[str, Config], Chat] = chat.create
    ) -> None:
        self._settings = settings
        self._config = settings.without_lent_keys().config()
        self._create = create
        self._chats: dict[str, Chat] = {}

    def models(self) -> list[ChatModel]:
        """Return the suggested chat models, those that can be used now first."""
        found: list[ChatModel] = []
        for name in CHATS:
            service = self._chat(name)
            ready = (
                service.ready()
                if self._may_ask(name)
                else Ready(Readiness.NEEDS_KEY, NEEDS_OWN_KEY)
            )
            found += [
                ChatModel(f"{name}:{model}", f"{service.label} · {model}", ready)
                for model in service.suggested
            ]
        return sorted(found, key=lambda model: model.ready.state is not Readiness.READY)

    async def rewrite(self, prompt: str, model_id: str) -> Rewritten:
        """Rewrite a prompt with one call of a chat model.

        Raises:
            BackendError: there is no such model, or its answer is no prompt.
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
            chat_service = self._chat(name)
            if not self._may_ask(name, server):
                raise MissingKey(NEEDS_OWN_KEY)
            reply = await chat_service.ask(model.strip(), INSTRUCTIONS, prompt, server=server)
            reply_text = clean_text(reply.text, self._settings.hide, MAX_PROMPT + 1)
            text = await asyncio.to_thread(_tidy, reply_text)
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
        """Close all connections."""
        for each in self._chats.values():
            await each.aclose()
        self._chats.clear()

    def _may_ask(self, name: str, server: str = "") -> bool:
        """Return whether the visitor may use a service: at a public address, only with an own key.

        Otherwise a server of the owner's that needs no key would be open to everybody.
        """
        if not self._settings.public:
            return True
        return not server and any(typed_key(key.setting) for key in backend_class(name).keys)

    def _chat(self, name: str) -> Chat:
        if name not in self._chats:
            self._chats[name] = self._create(name, self._config)
        return self._chats[name]


def recorded(spec: RunSpec, original: str, by: str, rewritten: str) -> RunSpec:
    """Return `spec` with the rewrite in its provenance, unless its prompt has become another.

    A rewritten prompt may be edited before the run; if fewer than half of its letter trigrams
    occur in the rewritten text, it counts as another prompt.
    """
    if not by or not original:
        return spec
    trigrams = _trigrams(spec.request.prompt)
    if 2 * len(trigrams & _trigrams(rewritten)) < len(trigrams):
        return spec
    return _with_rewrite(spec, original, by)


def _with_rewrite(spec: RunSpec, original: str, by: str) -> RunSpec:
    provenance = replace(spec.provenance, original_prompt=original, rewritten_by=by)
    return replace(spec, provenance=provenance)


def _trigrams(text: str) -> set[str]:
    text = text.casefold()
    return {text[at : at + 3] for at in range(max(1, len(text) - 2))}


def _tidy(text: str) -> str:
    """Return the prompt without a code fence or quotation marks around it.

    Raises:
        ServiceFault: nothing is left, or the text is too long for a prompt.
    """
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and len(text) > 6:
        text = text.strip("`").partition("\n")[2].strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text.count(text[-1]) < 3:
        text = text[1:-1].strip()
    if not text or len(text) > MAX_PROMPT:
        raise ServiceFault(
            "The chat model answered, but not with a prompt. Try again, or choose another one."
        )
    return text
