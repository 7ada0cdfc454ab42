"""Two apps for all tests of this folder: one for this machine alone, one at a public address."""

from collections.abc import Generator

import pytest

from tests.app_process import App, serve


@pytest.fixture(scope="package")
def loopback_app(tmp_path_factory: pytest.TempPathFactory) -> Generator[App, None, None]:
    """The app for this machine alone."""
    with serve(tmp_path_factory.mktemp("loopback")) as app:
        yield app


@pytest.fixture(scope="package")
def public_app(tmp_path_factory: pytest.TempPathFactory) -> Generator[App, None, None]:
    """The app at a public address, without the owner's keys."""
    with serve(tmp_path_factory.mktemp("public"), LINEUP_HOSTS="lineup.example") as app:
        yield app


@pytest.fixture(params=["loopback_app", "public_app"])
def app(request: pytest.FixtureRequest) -> App:
    """Each of the two apps."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def address(app: App) -> str:
    """The address of each of the two apps."""
    return app.address


@pytest.fixture
def loopback(loopback_app: App) -> str:
    """The address of the app for this machine alone."""
    return loopback_app.address


@pytest.fixture
def public(public_app: App) -> str:
    """The address of the app at a public address."""
    return public_app.address
