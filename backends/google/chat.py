"""Google's chat models: the Gemini family, by the same API call as its image models."""

from typing import TYPE_CHECKING, Any, cast

from backends.base import Config
from backends.chat import API, Chat, Reply, as_model, without_text
from backends.errors import BackendError, Refused
from backends.google.client import SdkClients, http_options
from backends.google.credentials import Credentials
from backends.google.errors import explain, safe_cause
from backends.google.response import PICTURE_REASONS, PROMPT_REASONS
from backends.json_values import loads

if TYPE_CHECKING:
    import httpx2

    from google import genai


class GoogleChat(Chat):
    """Chats with Google's Gemini API."""

    label = "Google"
    suggested = ("gemini-3.5-flash", "gemini-3.5-flash-lite")

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config, transport=transport)
        self._sdk = SdkClients()

    def credentials(self, server: str = "") -> Credentials:
        """Return the checked address and key."""
        credentials = Credentials.from_config(self.config)
        credentials.check()
        return credentials

    async def ask(self, model: str, instructions: str, text: str, *, server: str = "") -> Reply:
        """Request one text."""
        credentials = self.credentials()
        try:
            client = await self._sdk.get(await self._clients.get())
            response = await _generate_content(client, credentials, model, instructions, text)
            return _reply(response, credentials.service)
        except BackendError:
            raise
        except Exception as error:
            failure = explain(error, credentials, as_model("google", model), api=API)
            raise failure from safe_cause(error, credentials)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        self._sdk.discard()
        await super().aclose()


async def _generate_content(
    client: "genai.Client", credentials: Credentials, model: str, instructions: str, text: str
) -> dict[str, Any]:
    """Return the parsed JSON of the response: the SDK's own types omit why there is no text."""
    from google.genai import types

    answer = await client.aio.models.generate_content(
        model=model,
        contents=[instructions, text],  # version 1 of the API has no system instruction
        config=types.GenerateContentConfig(
            http_options=http_options(credentials),
            should_return_http_response=True,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            automatic_continuation=False,  # each further request would be billed
        ),
    )
    response = answer.sdk_http_response
    return loads((response and response.body) or "")


def _reply(response: dict[str, Any], service: str) -> Reply:
    blocked = cast(dict[str, Any], response.get("promptFeedback") or {}).get("blockReason")
    if blocked:
        why = PROMPT_REASONS.get(str(blocked), "it gave no reason")
        raise Refused(f"{service} declined the prompt: {why}. Change it and try again.")
    candidate: dict[str, Any] = response["candidates"][0]
    finish_reason = candidate.get("finishReason")
    if finish_reason in PICTURE_REASONS:
        raise without_text(service, "refusal")
    parts: list[dict[str, Any]] = (candidate.get("content") or {}).get("parts") or []
    text = "".join(str(part.get("text") or "") for part in parts if not part.get("thought"))
    if finish_reason == "MAX_TOKENS":
        raise without_text(service, "length")
    if not text:
        raise without_text(service, finish_reason)
    return Reply(text=text, usage=_token_counts(response.get("usageMetadata") or {}))


def _token_counts(usage: dict[str, Any]) -> dict[str, int]:
    names = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    inputs, outputs, thoughts = (usage.get(name) or 0 for name in names)
    if not inputs:
        return {}
    return {"text_input": int(inputs), "text_output": int(outputs) + int(thoughts)}
