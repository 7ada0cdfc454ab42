"""Chat models of OpenAI, and of every server that implements its API."""

from typing import TYPE_CHECKING

from backends.base import Config
from backends.chat import API, Chat, Reply, as_model, without_text
from backends.errors import BackendError
from backends.json_values import mapping
from backends.openai.client import SdkClients, headers
from backends.openai.credentials import Credentials
from backends.openai.errors import explain
from backends.openai.response import ErrorAnswer

if TYPE_CHECKING:
    import httpx2
    from openai.types.chat import ChatCompletion


class OpenAIChat(Chat):
    """Chats with `OPENAI_BASE_URL`, or with one of the user's servers."""

    label = "OpenAI"
    suggested = ("gpt-5.4-mini", "gpt-6-luna")

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config, transport=transport)
        self._sdk = SdkClients()

    def credentials(self, server: str = "") -> Credentials:
        """Return the checked address and key."""
        credentials = Credentials.from_config(self.config, server)
        credentials.check()
        return credentials

    async def ask(self, model: str, instructions: str, text: str, *, server: str = "") -> Reply:
        """Request one chat completion."""
        credentials = self.credentials(server)
        try:
            client = await self._sdk.get(await self._clients.get(), credentials)
            completion = await client.chat.completions.create(
                model=model,
                messages=[
                    {"role": "system", "content": instructions},
                    {"role": "user", "content": text},
                ],
                extra_headers=headers(credentials),
            )
            return _reply(completion, credentials.service)
        except BackendError:
            raise
        except Exception as error:
            raise explain(error, credentials, as_model("openai", model), api=API) from error


def _reply(completion: "ChatCompletion", service: str) -> Reply:
    error = mapping((completion.model_extra or {}).get("error"))
    if error and not completion.choices:
        raise ErrorAnswer(error)
    choice = completion.choices[0]
    text, finish = choice.message.content, choice.finish_reason
    if choice.message.refusal:
        finish = "refusal"
    if not text or finish in ("length", "content_filter", "refusal"):
        raise without_text(service, finish)
    usage = completion.usage
    counts = usage and {"text_input": usage.prompt_tokens, "text_output": usage.completion_tokens}
    return Reply(text=text, usage=counts or {})
