"""What real services do that is neither a plain success nor a fault, with every backend."""

from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Picture, Receipt
from backends.errors import BackendError
from tests.backends.harness import Harness, all_harnesses
from tests.backends.situations import COURTESIES, IMPOSSIBLE, REASON, Situation, arrange

CASES = [
    pytest.param(name, here, situation, id=f"{name}: {situation}")
    for name, here in all_harnesses().items()
    if name in IMPOSSIBLE
    for situation in Situation
]


@pytest.mark.parametrize(("name", "kind", "situation"), CASES)
async def test_situation(name: str, kind: type[Harness], situation: Situation, home: Path) -> None:
    if situation in IMPOSSIBLE[name]:
        pytest.skip(IMPOSSIBLE[name][situation])
    with kind() as harness:
        arrange(name, harness, situation)
        backend = harness.create(home)
        if situation is Situation.ERROR_IN_A_SUCCESS:
            with pytest.raises(BackendError, match=REASON) as caught:
                await harness.draw(backend)
            assert caught.value.charged is not True
            return
        count = 2 if situation is Situation.ONE_OF_TWO else 1
        events = await harness.draw(backend, replace(harness.request, count=count))
        assert harness.billable <= count, "nothing is sent again by itself"
    pictures = [event for event in events if isinstance(event, Picture)]
    receipt = events[-1]
    assert isinstance(receipt, Receipt)
    if situation is Situation.ONE_OF_TWO:
        assert len(pictures) == receipt.honoured["count"].used == 1
        assert receipt.honoured["count"].note.startswith("1 instead of 2 pictures")
        return
    assert len(pictures) == 1 and pictures[0].width == 64
    if situation in (Situation.ZERO_USAGE, Situation.PARTIAL_USAGE, Situation.HIDDEN_USAGE):
        assert receipt.usage == {} and receipt.charged is None
    if situation in COURTESIES:
        assert receipt.charged is None
