"""Servers of the user's own that speak OpenAI's API, each under a name: OPENAI_SERVERS.

    OPENAI_SERVERS="lmstudio=http://127.0.0.1:1234/v1, together=https://api.together.xyz/v1"

The key of a server is NAME_API_KEY, here TOGETHER_API_KEY; one of the user's own rarely needs any.
Models' names may follow an address: those are listed, any other can be asked for as well.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from backends.base import Config
from backends.errors import NotReady
from backends.http.errors import place
from backends.settings import setting

SETTING = "OPENAI_SERVERS"

_ENTRY = re.compile(r"([A-Za-z][\w-]*)\s*=\s*(https?://\S+)((?:\s+\S+)*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Server:
    """One of them: its name, its address, and the models that its entry lists."""

    name: str
    base_url: str
    models: tuple[str, ...]

    @property
    def key(self) -> str:
        """The setting that holds its key."""
        return f"{self.name.upper().replace('-', '_')}_API_KEY"


def servers(config: Config) -> Mapping[str, Server]:
    """Return the servers by name.

    Raises:
        NotReady: the setting cannot be read.
    """
    found: dict[str, Server] = {}
    for entry in filter(None, map(str.strip, (setting(config, SETTING) or "").split(","))):
        read = _ENTRY.fullmatch(entry)
        if read is None or not place(read[2]):
            raise NotReady(
                f"{SETTING} must name each server with its address, like "
                "lmstudio=http://127.0.0.1:1234/v1, with a comma between two servers."
            )
        if read[1] in found:
            raise NotReady(f"{SETTING} names the server {read[1]} twice. Give one another name.")
        found[read[1]] = Server(read[1], read[2].rstrip("/"), tuple(read[3].split()))
    return found


def named(config: Config, name: str) -> Server:
    """Return the server called `name`.

    Raises:
        NotReady: there is none, or the setting cannot be read.
    """
    known = servers(config)
    if name not in known:
        listed = f"It has {', '.join(known)}." if known else "It is not set."
        raise NotReady(f"{SETTING} has no server called {name}. {listed}")
    return known[name]
