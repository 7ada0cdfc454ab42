"""Address, API version and key of Google's Gemini API."""

import re
from dataclasses import dataclass, field

from backends.base import Config
from backends.errors import MissingKey, NotReady
from backends.settings import host_of, key, setting

HOME = "https://generativelanguage.googleapis.com"
VERSION = "v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """Address, API version and key, read anew for each job and never stored."""

    base_url: str
    version: str
    key: str | None = field(repr=False)

    @classmethod
    def from_config(cls, config: Config) -> "Credentials":
        """Read the settings; GOOGLE_BASE_URL may end with the API's version.

        A server at GOOGLE_BASE_URL is not for visitors unless its owner has a key for it.

        Raises:
            WrongKey: the key cannot be sent in a header.
        """
        own = None
        if not config.visitors or any(map(config.has_key, ("GOOGLE_API_KEY", "GEMINI_API_KEY"))):
            own = setting(config, "GOOGLE_BASE_URL")
        address = (own or HOME).rstrip("/")
        versioned = re.fullmatch(r"(.+)/(v\d+\w*)", address)
        return cls(
            base_url=versioned[1] if versioned else address,
            version=versioned[2] if versioned else VERSION,
            key=key(config, "GOOGLE_API_KEY") or key(config, "GEMINI_API_KEY"),
        )

    @property
    def official(self) -> bool:
        """Whether the address is that of Google."""
        return host_of(self.base_url).partition(":")[0].endswith(".googleapis.com")

    @property
    def service(self) -> str:
        """The name of the service at the beginning of a sentence."""
        return "Google" if self.official else f"The server at {host_of(self.base_url)}"

    def check(self) -> None:
        """Validate address and key.

        Raises:
            NotReady: the address is invalid, or the key is missing.
        """
        if not self.base_url.startswith(("http://", "https://")) or not host_of(self.base_url):
            raise NotReady("GOOGLE_BASE_URL must be an address like http://localhost:8080.")
        if self.key is None and self.official:
            raise MissingKey("Google needs a key: set GOOGLE_API_KEY or GEMINI_API_KEY.")
