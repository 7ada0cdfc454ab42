"""Chat models behind Hugging Face's router, which chooses the provider by itself."""

import asyncio
from typing import TYPE_CHECKING, Any

from backends.chat import Chat, Reply, without_text
from backends.errors import BackendError
from backends.huggingface.credentials import Credentials
from backends.huggingface.errors import Service, explain, rejected

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import AsyncInferenceClient, ChatCompletionOutput

_NAME = "Hugging Face"


class HuggingFaceChat(Chat):
    """Chats through the router, billed to the account of `HF_TOKEN`."""

    label = _NAME
    suggested = ("openai/gpt-oss-120b", "Qwen/Qwen2.5-72B-Instruct")

    def credentials(self, server: str = "") -> Credentials:
        """Return the checked addresses and token."""
        return Credentials.from_config(self.config)

    async def ask(self, model: str, instructions: str, text: str, *, server: str = "") -> Reply:
        """Request one chat completion."""
        credentials = self.credentials()
        service = Service(name=_NAME, model=model, token=credentials.token)
        try:
            pool = await self._clients.get()
            # The package takes a third of a second to import: not on the loop.
            client = await asyncio.to_thread(_new_client, pool, credentials)
            completion = await client.chat_completion(
                [{"role": "system", "content": instructions}, {"role": "user", "content": text}],
                model=model,
            )
            return _reply(completion)
        except BackendError:
            raise
        except Exception as error:
            raise _explain(error, service) from error


def _new_client(pool: "httpx2.AsyncClient", credentials: Credentials) -> "AsyncInferenceClient":
    from huggingface_hub import AsyncInferenceClient

    timeout: Any = pool.timeout
    client = AsyncInferenceClient(
        base_url=f"{credentials.router}/v1", api_key=credentials.token, timeout=timeout
    )
    # The SDK's own connections have no limits and wait for a complete response without a timeout.
    client._async_client = pool  # pyright: ignore[reportPrivateUsage]
    return client


def _reply(completion: "ChatCompletionOutput") -> Reply:
    choice = completion.choices[0]
    text = choice.message.content
    if not text or choice.finish_reason in ("length", "content_filter"):
        raise without_text(_NAME, choice.finish_reason)
    usage: Any = completion.usage  # some providers leave it out
    if not usage:
        return Reply(text=text)
    return Reply(
        text=text,
        usage={"text_input": usage.prompt_tokens, "text_output": usage.completion_tokens},
    )


def _explain(error: Exception, service: Service) -> BackendError:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

    match error:
        case InferenceTimeoutError(__cause__=httpx2.RequestError() as cause):
            return explain(cause, service)
        case HfHubHTTPError():
            return rejected(error.response, error.response.content, service)
        case _:
            return explain(error, service)
