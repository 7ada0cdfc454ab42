"""The local fault matrix: whatever is wrong is a sentence, and the next run works."""

import os
import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from backends.base import Config, Model, Picture, Request
from backends.errors import BackendError
from backends.local import Local
from tests.backends.local import faults
from tests.backends.local.faults import FAMILIES, Fault

CASES = [
    pytest.param(family, fault, id=f"{family}: {fault}") for family in FAMILIES for fault in Fault
]
ASK = Request(prompt="a red circle", seed=5, num_inference_steps=4)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("whole")
    return {family: faults.model(family, here / family) for family in FAMILIES}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path_factory.mktemp("home")))
    yield backend
    await backend.aclose()


async def drawn(local: Local, model: Model, request: Request = ASK) -> bytes:
    events = [event async for event in local.generate(model, request)]
    [picture] = [event for event in events if isinstance(event, Picture)]
    return picture.data


@pytest.mark.parametrize(("family", "fault"), CASES)
async def test_fault(
    local: Local, models: dict[str, Model], tmp_path: Path, family: str, fault: Fault
) -> None:
    if why := faults.IMPOSSIBLE.get((family, fault)):
        pytest.skip(why)
    whole = await drawn(local, models[family])
    broken = faults.faulty(models[family], family, fault, tmp_path / "broken")
    with pytest.raises(BackendError) as caught, faults.lost(family, fault):
        await drawn(local, broken)
    kind, words = faults.EXPECTED[fault]
    assert type(caught.value) is kind, repr(caught.value)
    assert re.search(words, str(caught.value)), str(caught.value)
    assert re.fullmatch(r"[A-Z].{20,}[.!?…]", str(caught.value)), str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.charged is False
    assert await drawn(local, models[family]) == whole
