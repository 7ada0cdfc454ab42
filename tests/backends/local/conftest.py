"""What all tests of local pipelines share."""

import gc
from collections.abc import Generator

import pytest


@pytest.fixture(autouse=True, scope="session")
def frozen_libraries() -> Generator[None]:
    """Freeze the objects of PyTorch and pytest, as the app does: each test releases its models."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
