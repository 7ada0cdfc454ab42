"""One file for each backend: its stand, for the contract and the fault matrix."""

import importlib
import pkgutil

from tests.backends.stand import Stand


def stands() -> list[type[Stand]]:
    """Every file here has one class `Here`: a backend at its small server."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}").Here for name in names]
