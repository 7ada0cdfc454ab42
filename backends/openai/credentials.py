"""Where requests in OpenAI's words go, and who pays for them."""

from dataclasses import dataclass, field

from backends.base import Config
from backends.errors import MissingKey, NotReady, WrongKey
from backends.http.errors import place
from backends.openai_servers import SETTING, named
from backends.settings import setting

HOME = "https://api.openai.com/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Address and key; read anew for each job, kept by nobody.

    `server` is the name of one of the user's own servers, "" for OpenAI or OPENAI_BASE_URL.
    """

    base_url: str
    key: str | None = field(repr=False)
    organisation: str | None = None
    project: str | None = None
    server: str = ""
    key_setting: str = "OPENAI_API_KEY"

    @classmethod
    def of(cls, config: Config, server: str = "") -> "Account":
        """Read the account from the settings.

        Raises:
            NotReady: there is no such server.
        """
        if server:
            entry = named(config, server)
            key = setting(config, entry.key)
            return cls(base_url=entry.base_url, key=key, server=server, key_setting=entry.key)
        return cls(
            base_url=setting(config, "OPENAI_BASE_URL") or HOME,
            key=setting(config, "OPENAI_API_KEY"),
            organisation=setting(config, "OPENAI_ORG_ID"),
            project=setting(config, "OPENAI_PROJECT_ID"),
        )

    @property
    def official(self) -> bool:
        """Whether this is OpenAI's own API, a region's included."""
        host = place(self.base_url).partition(":")[0]
        return host == "api.openai.com" or host.endswith(".api.openai.com")

    @property
    def service(self) -> str:
        """Who answers, as a sentence begins."""
        if self.official:
            return "OpenAI"
        return f"The server {self.server or 'at'} {self._place}"

    @property
    def advice(self) -> str:
        """What to do where nobody answers."""
        return f"Check that the service runs, and {self.address_setting}."

    @property
    def address_setting(self) -> str:
        """The setting that holds the address."""
        return SETTING if self.server else "OPENAI_BASE_URL"

    def check(self) -> None:
        """Raise what keeps any request from being sent."""
        if not self.base_url.startswith(("http://", "https://")) or not place(self.base_url):
            raise NotReady(
                f"{self.address_setting} must be an address like http://localhost:8080/v1."
            )
        if self.key is None and self.official:
            raise MissingKey(f"OpenAI needs a key: set {self.key_setting}.")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable()):
            raise WrongKey(f"{self.key_setting} holds characters that no key has. Copy it again.")

    @property
    def _place(self) -> str:
        where = place(self.base_url)
        return f"({where})" if self.server else where
