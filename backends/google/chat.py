"""Google's chat models: the Gemini family, by the call that its image models are asked with."""

import json
from typing import TYPE_CHECKING, Any, cast

from backends.base import Config, Ready
from backends.chat import Chat, Reply, as_model, of_chat, without_text
from backends.errors import BackendError, MissingPackage, Refused
from backends.google.client import Client
from backends.google.credentials import Credentials
from backends.google.errors import explain
from backends.google.response import PICTURE_REASONS, PROMPT_REASONS
from backends.http.client import ClientPool
from backends.readiness import readiness

if TYPE_CHECKING:
    import httpx2

    from google import genai


class GoogleChat(Chat):
    """Asks Google's Gemini API."""

    label = "Google"
    suggested = ("gemini-3.5-flash", "gemini-3.5-flash-lite")

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)
        self._wire = Client()

    def ready(self, server: str = "") -> Ready:
        """Say whether there is a key."""
        return readiness(self._account)

    async def ask(self, model: str, instructions: str, text: str, *, server: str = "") -> Reply:
        """Send one request for a text."""
        account = self._account()
        try:
            client = await self._wire.prepare(await self._clients.get())
            return _reply(await _asked(client, account, model, instructions, text), account.service)
        except BackendError:
            raise
        except ImportError as error:
            raise MissingPackage(
                "Google's package is missing: pip install google-genai."
            ) from error
        except Exception as error:
            # A service may repeat the key in its own words.
            leaks = account.key is not None and account.key in f"{error!r}"
            fault = of_chat(explain(error, account, as_model("google", model)))
            raise fault from (None if leaks else error)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        self._wire.close()
        await self._clients.aclose()

    def _account(self) -> Credentials:
        account = Credentials.from_config(self.config)
        account.check()
        return account


async def _asked(
    client: "genai.Client", account: Credentials, model: str, instructions: str, text: str
) -> dict[str, Any]:
    """Return the answer as it came: the package's own types hide why there is no text."""
    from google.genai import types

    answer = await client.aio.models.generate_content(
        model=model,
        contents=[instructions, text],  # version 1 of the API knows no system instruction
        config=types.GenerateContentConfig(
            http_options=types.HttpOptions(
                base_url=account.base_url,
                api_version=account.version,
                headers={"x-goog-api-key": account.key or "none"},
            ),
            should_return_http_response=True,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            automatic_continuation=False,  # each further request would be billed
        ),
    )
    response = answer.sdk_http_response
    return json.loads((response and response.body) or "")


def _reply(answer: dict[str, Any], service: str) -> Reply:
    blocked = cast(dict[str, Any], answer.get("promptFeedback") or {}).get("blockReason")
    if blocked:
        why = PROMPT_REASONS.get(str(blocked), "it gave no reason")
        raise Refused(f"{service} declined the prompt: {why}. Change it and try again.")
    candidate: dict[str, Any] = answer["candidates"][0]
    finish = candidate.get("finishReason")
    if finish in PICTURE_REASONS:
        raise without_text(service, "refusal")
    parts: list[dict[str, Any]] = (candidate.get("content") or {}).get("parts") or []
    text = "".join(str(part.get("text") or "") for part in parts if not part.get("thought"))
    if not text or finish == "MAX_TOKENS":
        raise without_text(service, "length" if finish == "MAX_TOKENS" else finish)
    return Reply(text=text, usage=_counted(answer.get("usageMetadata") or {}))


def _counted(usage: dict[str, Any]) -> dict[str, int]:
    names = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    taken, said, thought = (usage.get(name) or 0 for name in names)
    return {"text_input": int(taken), "text_output": int(said) + int(thought)} if taken else {}
