"""Addresses and token of Hugging Face, and a query that checks the token."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.base import Config
from backends.errors import BackendError, MissingKey, WrongKey
from backends.huggingface.errors import Service, explain, rejected
from backends.json_values import loads
from backends.settings import address, key

if TYPE_CHECKING:
    import httpx2

HUB = "https://huggingface.co"
ROUTER = "https://router.huggingface.co"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """Addresses of Hub and router, and the token, read anew for each job and never stored."""

    hub: str
    router: str
    token: str = field(repr=False)

    @classmethod
    def from_config(cls, config: Config) -> "Credentials":
        """Read HF_TOKEN, HF_ENDPOINT and HF_INFERENCE_BASE.

        Raises:
            NotReady: the token is missing, or an address is invalid.
            WrongKey: the token is not one of Hugging Face.
        """
        token = key(config, "HF_TOKEN")
        if token is None:
            raise MissingKey(
                "Hugging Face needs a token that may call Inference Providers: set HF_TOKEN."
            )
        # The package takes any other key for the provider's own, and sends it directly there.
        if not token.startswith("hf_"):
            raise WrongKey("HF_TOKEN is no token of Hugging Face: those begin with hf_.")
        return cls(
            hub=address(config, "HF_ENDPOINT", HUB),
            router=address(config, "HF_INFERENCE_BASE", ROUTER),
            token=token,
        )


async def check_key(client: "httpx2.AsyncClient", credentials: Credentials) -> str:
    """Return the sentence that confirms the token and names its owner.

    Raises:
        BackendError: the Hub does not accept it, or cannot be reached.
    """
    hub = Service(name="Hugging Face", model="any model", token=credentials.token)
    try:
        response = await client.get(
            f"{credentials.hub}/api/whoami-v2",
            headers={"Authorization": f"Bearer {credentials.token}"},
        )
        if response.status_code != 200:
            raise rejected(response, response.content, hub)
        answer = loads(response.content)
    except BackendError:
        raise
    except Exception as error:
        raise explain(error, hub) from error
    match answer:
        case {"name": str(name)} if name:
            return f"Hugging Face accepts the token of {name}."
        case _:
            return "Hugging Face accepts the token."
