"""Chat models behind Hugging Face's router, which chooses the provider by itself."""

import asyncio
from typing import TYPE_CHECKING, Any

from backends.base import Config, Ready
from backends.chat import Chat, Reply, without_text
from backends.errors import BackendError
from backends.http.client import ClientPool
from backends.huggingface.credentials import Credentials
from backends.huggingface.errors import Service, explain, rejected
from backends.readiness import readiness

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import AsyncInferenceClient, ChatCompletionOutput

_NAME = "Hugging Face"


class HuggingFaceChat(Chat):
    """Asks the router, billed to the account of `HF_TOKEN`."""

    label = _NAME
    suggested = ("openai/gpt-oss-120b", "Qwen/Qwen2.5-72B-Instruct")

    def __init__(
        self, config: Config, *, transport: "httpx2.AsyncBaseTransport | None" = None
    ) -> None:
        super().__init__(config)
        self._clients = ClientPool(config, transport)

    def ready(self, server: str = "") -> Ready:
        """Say whether there is a token."""
        return readiness(lambda: Credentials.from_config(self.config))

    async def ask(self, model: str, instructions: str, text: str, *, server: str = "") -> Reply:
        """Send one chat completion."""
        account = Credentials.from_config(self.config)
        service = Service(name=_NAME, model=model, token=account.token)
        try:
            pool = await self._clients.get()
            # The package takes a third of a second to import: not on the loop.
            client = await asyncio.to_thread(_new_client, pool, account)
            answer = await client.chat_completion(
                [{"role": "system", "content": instructions}, {"role": "user", "content": text}],
                model=model,
            )
            return _reply(answer)
        except BackendError:
            raise
        except Exception as error:
            raise _explained(error, service) from error

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._clients.aclose()


def _new_client(pool: "httpx2.AsyncClient", account: Credentials) -> "AsyncInferenceClient":
    from huggingface_hub import AsyncInferenceClient

    timeout: Any = pool.timeout
    client = AsyncInferenceClient(
        base_url=f"{account.router}/v1", api_key=account.token, timeout=timeout
    )
    # Its own connections would know none of Lineup's limits, and wait for a whole answer for ever.
    client._async_client = pool  # pyright: ignore[reportPrivateUsage]
    return client


def _reply(answer: "ChatCompletionOutput") -> Reply:
    choice = answer.choices[0]
    text = choice.message.content
    if not text or choice.finish_reason in ("length", "content_filter"):
        raise without_text(_NAME, choice.finish_reason)
    usage: Any = answer.usage  # some providers leave it out
    if not usage:
        return Reply(text=text)
    return Reply(
        text=text,
        usage={"text_input": usage.prompt_tokens, "text_output": usage.completion_tokens},
    )


def _explained(error: Exception, service: Service) -> BackendError:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

    match error:
        case InferenceTimeoutError(__cause__=httpx2.RequestError() as cause):
            return explain(cause, service)
        case HfHubHTTPError():
            return rejected(error.response, error.response.content, service)
        case _:
            return explain(error, service)
