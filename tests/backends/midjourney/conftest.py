"""Fixtures of the Midjourney tests."""

from collections.abc import Iterator

import pytest

from tests.backends.midjourney.case import TOKEN
from tests.servers.midjourney import Midjourney


@pytest.fixture
def server() -> Iterator[Midjourney]:
    with Midjourney(TOKEN) as running:
        yield running
