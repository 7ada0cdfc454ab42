"""Lookups on an A1111 server: names of checkpoints, samplers and schedule types."""

from dataclasses import replace

import pytest

from backends.errors import BadInput
from tests.backends.a1111.case import ASK, events, named, receipt_of
from tests.servers.a1111 import A1111Server
from tests.servers.a1111_script import SDNEXT, Kind, Script, json_script


@pytest.mark.parametrize(
    "name",
    [
        "sd_xl_base_1.0.safetensors [31e35c80fc]",
        "SD_XL_base_1.0.safetensors",
        "sd_xl_base_1.0",
        "31e35c80fc",
    ],
)
async def test_a_checkpoint_goes_by_any_of_its_names(name: str) -> None:
    with A1111Server() as server:
        honoured = receipt_of(await events(server, model=named(name))).honoured
    override = server.generations[0].json["override_settings"]
    assert override == {"sd_model_checkpoint": "sd_xl_base_1.0.safetensors [31e35c80fc]"}
    assert honoured["checkpoint"].used == "sd_xl_base_1.0"
    assert honoured["checkpoint"].note == ""


@pytest.mark.parametrize(
    "name",
    [
        "dreamy_v2",
        "dreamy_v2.safetensors",
        "anime/dreamy_v2",
        "anime/dreamy_v2.safetensors",
        "anime\\Dreamy_v2.safetensors",
        "Stable-diffusion/anime/dreamy_v2.ckpt",
        "anime_dreamy_v2",
        "879db523c3",
    ],
)
@pytest.mark.parametrize("kind", [Kind(), SDNEXT], ids=["AUTOMATIC1111", "SD.Next"])
async def test_a_checkpoint_in_a_folder_goes_with_and_without_it(name: str, kind: Kind) -> None:
    with A1111Server(kind=kind) as server:
        honoured = receipt_of(await events(server, model=named(name))).honoured
    override = server.generations[0].json["override_settings"]
    assert override == {"sd_model_checkpoint": "anime/dreamy_v2.safetensors [879db523c3]"}
    assert (honoured["checkpoint"].used, honoured["checkpoint"].note) == ("dreamy_v2", "")


async def test_a_name_that_two_checkpoints_share_wants_its_folder() -> None:
    kind = Kind(checkpoints=("base/dreamy", "anime/dreamy", "dreamy_2"))
    with A1111Server(kind=kind) as server:
        with pytest.raises(BadInput, match=r"several checkpoints dreamy: .* with its folder"):
            await events(server, model=named("dreamy"))
        await events(server, model=named("anime/dreamy"))
    override = server.generations[0].json["override_settings"]
    assert override["sd_model_checkpoint"].startswith("anime/dreamy")


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


SAMPLERS = [{"name": name, "aliases": [], "options": {}} for name in ("Euler a", "Karras")]
NO_SCHEDULES = {
    "500": json_script({"error": "ResponseValidationError"}, 500),
    "404": json_script({"detail": "Not Found"}, 404),
    "its samplers": json_script(SAMPLERS),
    "its samplers with labels": json_script(
        [{"name": name, "label": name} for name in ("Euler a", "DDIM")]
    ),
    "none": json_script([]),
}


@pytest.mark.parametrize("listed", NO_SCHEDULES.values(), ids=NO_SCHEDULES)
@pytest.mark.parametrize("knows", [True, False])
async def test_where_no_schedule_types_are_listed_the_answer_tells(
    listed: Script, knows: bool
) -> None:
    asked = replace(ASK, options={"a1111": {"scheduler": "Karras"}})
    kind = Kind(schedules=knows, broken={"/sdapi/v1/schedulers": listed})
    with A1111Server(kind=kind) as server:
        honoured = receipt_of(await events(server, asked)).honoured
    assert honoured["scheduler"].used == ("Karras" if knows else None)
    assert bool(honoured["scheduler"].note) is not knows


async def test_another_schedule_type_than_requested_is_said() -> None:
    asked = replace(ASK, options={"a1111": {"scheduler": "Karras"}})
    text = "a lighthouse\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, Size: 64x64"
    with A1111Server(Script(info={"infotexts": [text]})) as server:
        honoured = receipt_of(await events(server, asked)).honoured
    assert honoured["scheduler"].note == "schedule type Automatic instead of Karras"


async def test_a_schedule_type_that_the_server_does_not_report_is_not_called_used() -> None:
    asked = replace(ASK, options={"a1111": {"scheduler": "Karras"}})
    with A1111Server(kind=Kind(schedules=False)) as server:
        honoured = receipt_of(await events(server, asked)).honoured
    assert honoured["scheduler"].used is None
    assert honoured["scheduler"].note.startswith("schedule type ignored")
