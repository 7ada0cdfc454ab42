"""Address and key of OpenAI's API, and of the user's servers that implement it.

Those servers are listed by name in a setting:

    OPENAI_SERVERS="lmstudio=http://127.0.0.1:1234/v1, together=https://api.together.xyz/v1"

The key of a server is the setting NAME_API_KEY, here TOGETHER_API_KEY; local servers rarely need
one. Model names may follow an address: they are added to the catalogue. A model that is not listed
can be requested as well. `stream=on` before them says that the server can send pictures on the way:

    OPENAI_SERVERS="vllm=http://127.0.0.1:8000/v1 stream=on qwen-image"

Only OpenAI's own API is asked for a stream without being told to, because a proxy that passes
`stream` on and cannot read the answer loses a picture that was paid for.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from backends.base import Config, FindModel, Model, UserModels
from backends.errors import MissingKey, NotReady
from backends.settings import host_of, key, setting

HOME = "https://api.openai.com/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """Address and key, read anew for each job and never stored.

    `server` is the name of one of the user's servers, "" for OpenAI or OPENAI_BASE_URL.
    """

    base_url: str
    key: str | None = field(repr=False)
    organisation: str | None = None
    project: str | None = None
    server: str = ""
    stream: bool | None = None
    key_setting: str = "OPENAI_API_KEY"

    @classmethod
    def from_config(cls, config: Config, server: str = "") -> "Credentials":
        """Read the settings of `server`.

        Raises:
            NotReady: there is no such server, or OPENAI_SERVERS is malformed.
            WrongKey: the key cannot be sent in a header.
        """
        if server:
            entry = named(config, server)
            return cls(
                base_url=entry.base_url,
                key=key(config, entry.key),
                server=server,
                key_setting=entry.key,
                stream=entry.stream,
            )
        address = setting(config, "OPENAI_BASE_URL")
        if config.visitors and not config.has_key("OPENAI_API_KEY"):
            address = None
        return cls(
            base_url=address or HOME,
            key=key(config, "OPENAI_API_KEY"),
            organisation=setting(config, "OPENAI_ORG_ID"),
            project=setting(config, "OPENAI_PROJECT_ID"),
            stream=_switch(config, "OPENAI_STREAM"),
        )

    @property
    def official(self) -> bool:
        """Whether this is OpenAI's own API, including those of its regions."""
        host = host_of(self.base_url).partition(":")[0]
        return host == "api.openai.com" or host.endswith(".api.openai.com")

    @property
    def streams(self) -> bool:
        """Whether the server is known to send pictures on the way."""
        return self.official if self.stream is None else self.stream

    @property
    def is_paid_proxy(self) -> bool:
        """Whether another service, which bills, may stand behind the server."""
        return not self.official and self.key is not None

    @property
    def service(self) -> str:
        """The name of the service at the beginning of a sentence."""
        if self.official:
            return "OpenAI"
        return f"The server {self.server or 'at'} {self._location}"

    @property
    def advice(self) -> str:
        """The advice for a refused connection."""
        return f"Check that the service runs, and {self.address_setting}."

    @property
    def address_setting(self) -> str:
        """The setting that holds the address."""
        return SETTING if self.server else "OPENAI_BASE_URL"

    def check(self) -> None:
        """Validate address and key.

        Raises:
            NotReady: the address is invalid, or the key is missing.
        """
        if not self.base_url.startswith(("http://", "https://")) or not host_of(self.base_url):
            raise NotReady(
                f"{self.address_setting} must be an address like http://localhost:8080/v1."
            )
        if self.key is None and self.official:
            raise MissingKey(f"OpenAI needs a key: set {self.key_setting}.")

    @property
    def _location(self) -> str:
        host = host_of(self.base_url)
        return f"({host})" if self.server else host


SETTING = "OPENAI_SERVERS"

_ENTRY = re.compile(r"([A-Za-z][\w-]*)\s*=\s*(https?://\S+)((?:\s+\S+)*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Server:
    """An entry of OPENAI_SERVERS: name, address, the models that it lists, whether it streams."""

    name: str
    base_url: str
    models: tuple[str, ...]
    stream: bool | None = None

    @property
    def key(self) -> str:
        """The name of the setting with its key."""
        return f"{self.name.upper().replace('-', '_')}_API_KEY"


def servers(config: Config) -> Mapping[str, Server]:
    """Return the servers of OPENAI_SERVERS by name; visitors have only those with a key.

    Raises:
        NotReady: the setting is malformed.
    """
    found: dict[str, Server] = {}
    for entry in filter(None, map(str.strip, (setting(config, SETTING) or "").split(","))):
        match = _ENTRY.fullmatch(entry)
        if match is None or not host_of(match[2]):
            raise NotReady(
                f"{SETTING} must name each server with its address, like "
                "lmstudio=http://127.0.0.1:1234/v1, with a comma between two servers."
            )
        name = match[1]
        if name in found:
            raise NotReady(f"{SETTING} names the server {name} twice. Give one another name.")
        words = match[3].split()
        streams = [_SWITCHES.get(word[7:].lower()) for word in words if _is_switch(word)]
        if None in streams:
            raise NotReady(f"{SETTING}: {name} has a stream that is neither on nor off.")
        models = tuple(word for word in words if not _is_switch(word))
        found[name] = Server(name, match[2].rstrip("/"), models, streams[-1] if streams else None)
    if config.visitors:
        return {name: entry for name, entry in found.items() if config.has_key(entry.key)}
    return found


_SWITCHES = {"on": True, "1": True, "off": False, "0": False}


def _is_switch(word: str) -> bool:
    return word.lower().startswith("stream=")


def _switch(config: Config, name: str) -> bool | None:
    """Return the setting `name` as on or off, None if it is neither."""
    return _SWITCHES.get((setting(config, name) or "").lower())


def user_models(config: Config) -> UserModels:
    """Return the models that the servers' entries list; reading raises `NotReady` as `servers`."""

    def read(find: FindModel) -> Iterator[Model]:
        for server in servers(config).values():
            for name in server.models:
                model = find(f"openai@{server.name}/{name}")
                yield replace(model, provider=f"your server {server.name}")

    return UserModels(setting(config, SETTING), read)


def named(config: Config, name: str) -> Server:
    """Return the server called `name`.

    Raises:
        NotReady: there is none, or the setting is malformed.
    """
    known = servers(config)
    if name not in known:
        listed = f"It has {', '.join(known)}." if known else "It is not set."
        raise NotReady(f"{SETTING} has no server called {name}. {listed}")
    return known[name]
