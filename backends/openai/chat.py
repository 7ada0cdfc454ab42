"""Chat models of OpenAI, and of every server that speaks its API."""

from typing import TYPE_CHECKING

from backends.base import Config, Ready
from backends.chat import Chat, Reply, as_model, of_chat, without_text
from backends.errors import BackendError
from backends.http.client import ClientPool
from backends.images.previews import Previews
from backends.openai.client import Client, headers
from backends.openai.credentials import Credentials
from backends.openai.errors import explain
from backends.readiness import readiness

if TYPE_CHECKING:
    import httpx2
    from openai.types.chat import ChatCompletion


class OpenAIChat(Chat):
    """Asks `OPENAI_BASE_URL`, or one of the user's own servers."""

    label = "OpenAI"
    suggested = ("gpt-5.4-mini", "gpt-6-luna")

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)
        self._wire = Client(Previews())

    def ready(self, server: str = "") -> Ready:
        """Say whether there is a key."""
        return readiness(lambda: self._account(server))

    async def ask(self, model: str, instructions: str, text: str, *, server: str = "") -> Reply:
        """Send one chat completion."""
        account = self._account(server)
        try:
            client = await self._wire.prepare(await self._clients.get(), account)
            answer = await client.chat.completions.create(
                model=model,
                messages=[
                    {"role": "system", "content": instructions},
                    {"role": "user", "content": text},
                ],
                extra_headers=headers(account),
            )
            return _reply(answer, account.service)
        except BackendError:
            raise
        except Exception as error:
            raise of_chat(explain(error, account, as_model("openai", model))) from error

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._clients.aclose()

    def _account(self, server: str) -> Credentials:
        account = Credentials.from_config(self.config, server)
        account.check()
        return account


def _reply(answer: "ChatCompletion", service: str) -> Reply:
    choice = answer.choices[0]
    text, finish = choice.message.content, choice.finish_reason
    if choice.message.refusal:
        finish = "refusal"
    if not text or finish in ("length", "content_filter", "refusal"):
        raise without_text(service, finish)
    usage = answer.usage
    counted = usage and {"text_input": usage.prompt_tokens, "text_output": usage.completion_tokens}
    return Reply(text=text, usage=counted or {})
