"""A server that speaks the service's API, for each test."""

from collections.abc import Iterator

import pytest

from tests.servers.huggingface import HuggingFaceServer


@pytest.fixture
def server() -> Iterator[HuggingFaceServer]:
    with HuggingFaceServer() as running:
        yield running
