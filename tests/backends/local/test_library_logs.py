"""What libraries tell developers stays off a user's terminal."""

import importlib
import logging

import pytest

import backends.local


@pytest.fixture
def fresh() -> logging.Logger:
    """The logger of bitsandbytes as before anything was imported."""
    logger = logging.getLogger("bitsandbytes")
    logger.setLevel(logging.NOTSET)
    return logger


@pytest.mark.parametrize("name", ["", ".cextension", ".backends.cpu.ops", ".backends.xpu.ops"])
def test_hints_of_bitsandbytes_are_silent_before_it_is_imported(
    fresh: logging.Logger, name: str
) -> None:
    importlib.reload(backends.local)
    logger = logging.getLogger(fresh.name + name)
    assert not logger.isEnabledFor(logging.WARNING) and logger.isEnabledFor(logging.ERROR)


def test_a_level_that_somebody_set_stays(fresh: logging.Logger) -> None:
    fresh.setLevel(logging.DEBUG)
    importlib.reload(backends.local)
    assert fresh.isEnabledFor(logging.DEBUG)
    fresh.setLevel(logging.ERROR)
