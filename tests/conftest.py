"""No test reaches the network, holds a real key, or touches the user's own data.

The guard sits at the socket and stands before any test module is imported. What it raises is no
`OSError`, so that no library takes it for an ordinary failed connection and carries on.
"""

import gc
import ipaddress
import os
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import distribution
from tests.servers.openai import OpenAIServer

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "LINEUP_ENV_FILE": os.devnull,
}
THREADS = {
    # The tests' models are so small that several threads only wait for each other, and a waiting
    # OpenMP thread spins: with two workers on two cores that takes the cores from the tests.
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}
SECRET_ENDINGS = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
OURS = (
    "A1111_",
    "COMFYUI_",
    "CRAIYON_",
    "DISCORD_",
    "GEMINI_",
    "GOOGLE_",
    "HF_",
    "LINEUP_",
    "MIDJOURNEY_",
    "OPENAI_",
    "STABILITY_",
)
COUNTED = {
    "backends/test_contract.py": ("The contract", "backends"),
    "backends/test_faults.py": ("The fault matrix", "backends"),
    "backends/test_situations.py": ("The matrix of situations", "backends"),
    "backends/local/test_faults.py": ("The local fault matrix", "families"),
    "backends/local/test_stops.py": ("The matrix of stops", "families"),
}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}


class NetworkUsed(AssertionError):
    """A test tried to reach another machine."""


def pytest_configure(config: pytest.Config) -> None:
    """Close the network and clear the environment, before anything is collected."""
    for name in list(os.environ):
        upper = name.upper()
        if upper.endswith(SECRET_ENDINGS) or upper.startswith(OURS) or upper in PROXIES:
            del os.environ[name]
    os.environ.update(OFFLINE)
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
    guard = pytest.MonkeyPatch()
    config.add_cleanup(guard.undo)
    for name in ("connect", "connect_ex"):
        guard.setattr(socket.socket, name, _guarded_connect(getattr(socket.socket, name)))
    guard.setattr(socket.socket, "sendto", _guarded_send(socket.socket.sendto))
    for name in ("getaddrinfo", "gethostbyname"):
        guard.setattr(socket, name, _guarded_lookup(getattr(socket, name)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Decide what `--numprocesses=auto` is."""
    return distribution.worker_count(config.args)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out the tests by file."""
    return distribution.UnitScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are imported, and freeze what exists then.

    The libraries' million objects stay: the garbage collector would traverse them again and again,
    and once more whenever a test releases its models. The app does the same (`ui/page.py`).
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_unconfigure() -> None:
    """Let the libraries release what they registered, else some warn at exit."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes longest."""
    items[:] = distribution.longest_first(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases of the contract and of the fault matrix were run, and over what."""
    for file, (name, noun) in COUNTED.items():
        passed, skipped, failed = (
            _of(terminalreporter.stats.get(outcome, []), file)
            for outcome in ("passed", "skipped", "failed")
        )
        if ids := passed + skipped + failed:
            kinds = {id.partition("[")[2].rstrip("]").partition(":")[0] for id in ids} - {""}
            terminalreporter.write_line(
                f"{name}: {len(ids)} cases over {len(kinds)} {noun}; {len(passed)} passed, "
                f"{len(failed)} failed, {len(skipped)} cannot happen there."
            )


def _of(reports: list[Any], file: str) -> list[str]:
    """Return the ids of the tests of one file, each once."""
    ids = (str(getattr(report, "nodeid", "")) for report in reports)
    return list(dict.fromkeys(id for id in ids if id.partition("::")[0].endswith(file)))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lineup's data folder, a new one for each test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LINEUP_HOME", str(folder))
    return folder


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """A server that speaks OpenAI's image API and answers at once."""
    with OpenAIServer() as running:
        yield running


def _guarded_connect(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family != getattr(socket, "AF_UNIX", None):
            _check(address[0])
        return connect(self, address)

    return guarded


def _guarded_send(sendto: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, data: Any, *rest: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _check(rest[-1][0])
        return sendto(self, data, *rest)

    return guarded


def _guarded_lookup(lookup: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(host: Any, *rest: Any, **named: Any) -> Any:
        _check(host)
        return lookup(host, *rest, **named)

    return guarded


def _check(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", "0.0.0.0", "::", socket.gethostname()):
        return
    try:
        if ipaddress.ip_address(name.partition("%")[0]).is_loopback:
            return
    except ValueError:
        pass
    raise NetworkUsed(f"A test tried to reach {name}: tests stay on this machine.")
