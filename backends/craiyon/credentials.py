"""Craiyon's address, model version and token, from the settings and the package `craiyon.py`."""

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
    """Address, model version and token, read anew for each job.

    `version` is Craiyon's name of it. A `token` belongs to a subscription.
    """

    url: str
    version: str
    token: str | None = field(repr=False)

    @property
    def pictures(self) -> str:
        """The address below which the pictures are."""
        parts = urlsplit(self.url)
        host = PICTURES if parts.netloc == HOST else parts.netloc
        return urlunsplit((parts.scheme, host, "/", "", ""))


def check(config: Config) -> None:
    """Check that a request could be sent; imports nothing.

    Raises:
        MissingPackage: the package is needed and not installed.
        BackendError: Craiyon is switched off, or a setting is invalid.
    """
    if setting(config, "CRAIYON_ENABLED") != "1":
        raise NotReady(
            "Craiyon is off: it has no public API and turns away clients that are not browsers, so "
            "it will rarely draw. Set CRAIYON_ENABLED=1 to try it all the same."
        )
    if setting(config, "CRAIYON_BASE_URL"):
        address(config, "CRAIYON_BASE_URL", f"https://{HOST}/v3")
    key(config, "CRAIYON_TOKEN")
    if _needs_package(config) and find_spec(PACKAGE) is None:
        raise MissingPackage(_install_sentence())


def find_credentials(config: Config) -> Credentials:
    """Return the credentials; slow if the package is needed, since it imports much.

    Raises:
        BackendError: as in `check`, or the package cannot be imported.
    """
    check(config)
    default_url, default_version = _package_values() if _needs_package(config) else ("", "")
    return Credentials(
        url=address(config, "CRAIYON_BASE_URL", default_url),
        version=setting(config, "CRAIYON_VERSION") or default_version,
        token=key(config, "CRAIYON_TOKEN"),
    )


def _needs_package(config: Config) -> bool:
    return not (setting(config, "CRAIYON_BASE_URL") and setting(config, "CRAIYON_VERSION"))


def _package_values() -> tuple[str, str]:
    """Return the address and the model version in the package."""
    try:
        client: Any = importlib.import_module(PACKAGE).Craiyon()
        return f"{client.BASE_URL}{client.DRAW_API_ENDPOINT}", str(client.model_version)
    except (ImportError, AttributeError) as error:
        raise MissingPackage(_install_sentence()) from error


def _install_sentence() -> str:
    return INSTALL if sys.version_info >= (3, 12) else INSTALL_ON_311
