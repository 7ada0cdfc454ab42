"""A server that speaks the service's API, for each test."""

from collections.abc import Iterator

import pytest

from tests.servers.stability import StabilityServer


@pytest.fixture
def server() -> Iterator[StabilityServer]:
    with StabilityServer() as running:
        yield running
