"""The fault matrix: whatever goes wrong, with every backend, ends in the right sentence."""

import re
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.errors import BackendError, Outcome, RateLimited, Unanswered
from tests.backends.harness import EXPECTED, RETRY_AFTER, Fault, Harness, all_harnesses

CASES = [
    pytest.param(here, fault, id=f"{name}: {fault}")
    for name, here in all_harnesses().items()
    for fault in Fault
]
HASTE = {
    Fault.NO_CONNECTION: {"LINEUP_CONNECT_SECONDS": "0.3", "LINEUP_ANSWER_SECONDS": "0.8"},
    Fault.NO_ANSWER: {"LINEUP_ANSWER_SECONDS": "0.8"},
    Fault.DRIP: {"LINEUP_ANSWER_SECONDS": "0.8"},
}
"""Settings that end a wait soon; connecting to a server that answers keeps its usual time."""


@pytest.mark.parametrize(("kind", "fault"), CASES)
async def test_fault(kind: type[Harness], fault: Fault, home: Path):
    if fault in kind.impossible:
        pytest.skip(kind.impossible[fault])
    with kind() as harness:
        with _place(harness, fault) as origin:
            backend = harness.create(home, origin=origin, **HASTE.get(fault, {}))
            with pytest.raises(BackendError) as caught:
                await harness.draw(backend)
        error = caught.value
        assert isinstance(error, EXPECTED[fault]), f"{type(error).__name__}: {error}"
        assert re.fullmatch(r"[A-Z].{20,}[.!?…]", str(error), re.DOTALL), str(error)
        assert "Traceback" not in str(error) and "<html" not in str(error).lower()
        assert not harness.secret or harness.secret not in f"{error}{error!r}{error.__cause__!r}"
        assert harness.billable <= 1, "nothing is sent again by itself"
        if fault is Fault.BUSY_FOR:
            assert isinstance(error, RateLimited) and error.retry_after == RETRY_AFTER
        if isinstance(error, Unanswered):
            assert error.outcome is Outcome.UNKNOWN and error.charged is None


@contextmanager
def _place(harness: Harness, fault: Fault) -> Generator[str | None]:
    """Where the server is said to be: a closed port, one that never accepts, or the real one."""
    match fault:
        case Fault.REFUSED_CONNECTION:
            with socket.socket() as held:
                held.bind(("127.0.0.1", 0))
                yield f"http://127.0.0.1:{held.getsockname()[1]}"
        case Fault.NO_CONNECTION:
            with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
                deaf.bind(("127.0.0.1", 0))
                deaf.listen(0)
                for filler in (first, second):  # the queue is full, the kernel drops the rest
                    filler.setblocking(False)
                    filler.connect_ex(deaf.getsockname())
                yield f"http://127.0.0.1:{deaf.getsockname()[1]}"
        case _:
            harness.meet(fault)
            yield None
