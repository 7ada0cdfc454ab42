"""Lookups on an A1111 server: names of checkpoints, samplers and schedule types."""

from dataclasses import replace

import pytest

from backends.errors import BadInput
from tests.backends.a1111.case import ASK, events, named, receipt_of
from tests.servers.a1111 import A1111Server
from tests.servers.a1111_script import Kind


@pytest.mark.parametrize(
    "name",
    [
        "sd_xl_base_1.0.safetensors [31e35c80fc]",
        "SD_XL_base_1.0.safetensors",
        "sd_xl_base_1.0",
    ],
)
async def test_a_checkpoint_goes_by_any_of_its_names(name: str) -> None:
    with A1111Server() as server:
        honoured = receipt_of(await events(server, model=named(name))).honoured
    override = server.generations[0].json["override_settings"]
    assert override == {"sd_model_checkpoint": "sd_xl_base_1.0.safetensors [31e35c80fc]"}
    assert honoured["checkpoint"].used == "sd_xl_base_1.0"
    assert honoured["checkpoint"].note == ""


async def test_an_unknown_checkpoint_is_found_out_before_anything_is_sent() -> None:
    with A1111Server() as server, pytest.raises(BadInput) as caught:
        await events(server, model=named("sd_xl_bse"))
    assert "no checkpoint sd_xl_bse" in str(caught.value)
    assert "sd_xl_base_1.0.safetensors [31e35c80fc]" in str(caught.value)
    assert server.generations == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler_name": "DPM++ 3M"}, "no sampler DPM++ 3M. The nearest it has: DPM++ 2M"),
        ({"scheduler": "Karas"}, "no schedule type Karas. It has Karras."),
    ],
)
async def test_what_the_server_lacks_is_said_before_anything_is_sent(
    options: dict[str, str], words: str
) -> None:
    with A1111Server() as server, pytest.raises(BadInput) as caught:
        await events(server, replace(ASK, options={"a1111": options}))
    assert words in str(caught.value)
    assert server.generations == []


async def test_a_schedule_type_that_the_server_does_not_report_is_not_called_used() -> None:
    asked = replace(ASK, options={"a1111": {"scheduler": "Karras"}})
    with A1111Server(kind=Kind(schedules=False)) as server:
        honoured = receipt_of(await events(server, asked)).honoured
    assert honoured["scheduler"].used is None
    assert honoured["scheduler"].note.startswith("schedule type ignored")
