"""The address and the key of Stability AI's API."""

from dataclasses import dataclass, field

from backends.base import Config
from backends.errors import MissingKey
from backends.settings import address, host_of, key

HOME = "https://api.stability.ai"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """Address and key, read anew for each job and never stored."""

    base_url: str
    key: str = field(repr=False)

    @classmethod
    def from_config(cls, config: Config) -> "Credentials":
        """Read STABILITY_BASE_URL and STABILITY_API_KEY.

        Raises:
            NotReady: the address is invalid, or there is no key.
            WrongKey: the key cannot be sent in a header.
        """
        base_url = address(config, "STABILITY_BASE_URL", HOME)
        secret = key(config, "STABILITY_API_KEY")
        if secret is None:
            raise MissingKey(
                "Stability AI needs a key: set STABILITY_API_KEY. "
                "Keys come from platform.stability.ai/account/keys."
            )
        return cls(base_url=base_url, key=secret)

    @property
    def service(self) -> str:
        """The name of the service at the beginning of a sentence."""
        where = host_of(self.base_url)
        return "Stability AI" if where == host_of(HOME) else f"The server at {where}"
