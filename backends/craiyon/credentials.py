"""Where Craiyon is, as the settings and the package `craiyon.py` say."""

import importlib
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from backends.base import Config
from backends.errors import MissingPackage, NotReady
from backends.settings import address, key, setting

PACKAGE = "craiyon"
HOST, PICTURES = "api.craiyon.com", "img.craiyon.com"

INSTALL = "Craiyon's package is missing: pip install craiyon.py."
INSTALL_ON_311 = (
    "Craiyon's package needs Python 3.12 or later to install beside the others. On this Python "
    "use: pip install --no-deps craiyon.py aiopath aiofile aiofiles caio."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """Where a drawing is asked for, and with what; read anew for each job.

    `version` is the model's, in Craiyon's own spelling. With a `token` a subscription pays.
    """

    url: str
    version: str
    token: str | None = field(repr=False)

    @property
    def pictures(self) -> str:
        """The address below which the pictures lie."""
        parts = urlsplit(self.url)
        host = PICTURES if parts.netloc == HOST else parts.netloc
        return urlunsplit((parts.scheme, host, "/", "", ""))


def check(config: Config) -> None:
    """Raise what keeps any request from being sent; imports nothing.

    Raises:
        MissingPackage: the package is needed and not there.
        BackendError: it is switched off, or a setting makes no sense.
    """
    if setting(config, "CRAIYON_ENABLED") != "1":
        raise NotReady(
            "Craiyon is off: it has no public API and turns away clients that are not browsers, so "
            "it will rarely draw. Set CRAIYON_ENABLED=1 to try it all the same."
        )
    if setting(config, "CRAIYON_BASE_URL"):
        address(config, "CRAIYON_BASE_URL", f"https://{HOST}/v3")
    key(config, "CRAIYON_TOKEN")
    if _asks_package(config) and find_spec(PACKAGE) is None:
        raise MissingPackage(_how_to_install())


def find_credentials(config: Config) -> Credentials:
    """Return the service; slow where the package is asked, which imports much.

    Raises:
        BackendError: as `check` does, or the package cannot be imported.
    """
    check(config)
    known = _package() if _asks_package(config) else ("", "")
    return Credentials(
        url=address(config, "CRAIYON_BASE_URL", known[0]),
        version=setting(config, "CRAIYON_VERSION") or known[1],
        token=key(config, "CRAIYON_TOKEN"),
    )


def _asks_package(config: Config) -> bool:
    return not (setting(config, "CRAIYON_BASE_URL") and setting(config, "CRAIYON_VERSION"))


def _package() -> tuple[str, str]:
    """The address and the model's version that the package knows."""
    try:
        knows: Any = importlib.import_module(PACKAGE).Craiyon()
        return f"{knows.BASE_URL}{knows.DRAW_API_ENDPOINT}", str(knows.model_version)
    except (ImportError, AttributeError) as error:
        raise MissingPackage(_how_to_install()) from error


def _how_to_install() -> str:
    return INSTALL if sys.version_info >= (3, 12) else INSTALL_ON_311
