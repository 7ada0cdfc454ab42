"""Responses of an A1111 server: pictures, seeds, and what the server changed."""

import base64
import json
from dataclasses import replace

import pytest

from backends.base import Applied
from backends.errors import ServiceFault
from tests.backends.a1111.case import ASK, events, named, pictures_of, receipt_of
from tests.servers import pictures
from tests.servers.a1111 import A1111Server
from tests.servers.a1111_script import SDNEXT, Kind, Script


async def test_a_server_that_draws_with_another_checkpoint_is_told_on() -> None:
    other = {"sd_model_name": "v1-5-pruned-emaonly", "sd_model_hash": "6ce0161689"}
    with A1111Server(Script(info=other)) as server:
        honoured = receipt_of(await events(server, model=named("dreamy_v2"))).honoured
    assert honoured["checkpoint"].note == (
        "checkpoint v1-5-pruned-emaonly instead of anime/dreamy_v2.safetensors [879db523c3]"
    )


async def test_grids_and_maps_are_no_pictures() -> None:
    with A1111Server(Script(grid=True, maps=2)) as server:
        got = await events(server, replace(ASK, count=3))
    assert [picture.seed for picture in pictures_of(got)] == [7, 8, 9]
    drawn = [pictures.plain(64, 64, bytes((40, 80, 10 * i))) for i in range(3)]
    assert [picture.data for picture in pictures_of(got)] == drawn
    assert receipt_of(got).honoured["count"].note == ""


async def test_the_seed_that_the_server_chose_is_kept() -> None:
    with A1111Server() as server:
        got = await events(server, replace(ASK, seed=None))
        assert server.generations[0].json["seed"] == -1
        assert pictures_of(got)[0].seed == 4242
        assert receipt_of(got).honoured["seed"] == Applied(None, 4242)


async def test_a_server_without_facts_beside_the_picture() -> None:
    with A1111Server(Script(info=None)) as server:
        got = await events(server)
    (picture,) = pictures_of(got)
    assert picture.seed is None
    assert receipt_of(got).honoured["seed"] == Applied(7, 7)
    assert "checkpoint" not in receipt_of(got).honoured


async def test_what_the_server_changed_is_said() -> None:
    changed = Script(fewer=1, pictures=(pictures.plain(32, 32),) * 3, info={"sampler_name": "DDIM"})
    asked = replace(ASK, count=3, options={"a1111": {"sampler_name": "Euler a"}})
    with A1111Server(changed) as server:
        got = await events(server, asked)
    honoured = receipt_of(got).honoured
    assert len(pictures_of(got)) == 2
    assert honoured["count"] == Applied(3, 2, "2 instead of 3 pictures")
    assert honoured["size"] == Applied("64x64", "32x32", "32x32 instead of 64x64")
    assert honoured["sampler_name"].note == "sampler DDIM instead of Euler a"


@pytest.mark.parametrize(("header", "seconds"), [("9.75", 9.75), ("soon", None)])
async def test_seconds_are_the_servers_own(header: str, seconds: float | None) -> None:
    with A1111Server(Script(time=header)) as server:
        receipt = receipt_of(await events(server))
    assert receipt.generate == seconds
    assert receipt.charged is None and receipt.usage == {}


BLACK = pictures.plain(64, 64, bytes(3))
DRAWN = pictures.plain(64, 64, bytes((0, 0, 40)))


@pytest.mark.parametrize(
    ("sent", "note"),
    [
        ((BLACK,), "the picture is black throughout"),
        ((BLACK, DRAWN, BLACK), "2 of 3 pictures are black throughout"),
        ((DRAWN,), None),
    ],
)
async def test_a_black_picture_carries_a_note(sent: tuple[bytes, ...], note: str | None) -> None:
    with A1111Server(Script(pictures=sent)) as server:
        got = await events(server, replace(ASK, count=len(sent)))
    assert [picture.data for picture in pictures_of(got)] == list(sent)
    noted = receipt_of(got).honoured.get("picture")
    assert (noted is None) is (note is None)
    assert noted is None or noted.note.startswith(note or "")


async def test_a_damaged_picture_among_others_costs_only_itself() -> None:
    sent = (DRAWN, DRAWN[:-20], DRAWN)
    with A1111Server(Script(pictures=sent)) as server:
        got = await events(server, replace(ASK, count=3))
    assert len(pictures_of(got)) == 2
    assert receipt_of(got).honoured["count"].note.startswith("2 instead of 3 pictures: ")


ENCODED = base64.b64encode(DRAWN).decode()


@pytest.mark.parametrize(
    "image",
    [
        ENCODED,
        f"data:image/png;base64,{ENCODED}",
        "\n".join(ENCODED[start : start + 76] for start in range(0, len(ENCODED), 76)),
        ENCODED.rstrip("=") + "=" * (-len(ENCODED.rstrip("=")) % 4),
    ],
    ids=["plain", "data:", "line breaks", "padded"],
)
@pytest.mark.parametrize("info", ['{"all_seeds": [7]}', {"all_seeds": [7]}], ids=["text", "object"])
async def test_every_form_of_a_picture_and_of_its_details(image: str, info: object) -> None:
    body = json.dumps({"images": [image], "parameters": {}, "info": info}).encode()
    with A1111Server(Script(raw=body)) as server:
        (picture,) = pictures_of(await events(server))
    assert (picture.data, picture.seed) == (DRAWN, 7)


NAME = "Steps: 20, Sampler: Euler a, Model hash: {}, Model: {}, Version: 1"


@pytest.mark.parametrize(
    ("kind", "info", "used", "note"),
    [
        (SDNEXT, {}, "dreamy_v2", ""),
        (SDNEXT, {"infotexts": [f"x\n{NAME.format('879db523c3', 'renamed')}"]}, "renamed", ""),
        (
            SDNEXT,
            {"infotexts": [f"Model: dreamy_v2\n{NAME.format('31e35c80fc', 'sd_xl_base_1.0')}"]},
            "sd_xl_base_1.0",
            "checkpoint sd_xl_base_1.0 instead of ",
        ),
        (SDNEXT, {"infotexts": [], "sd_model_hash": "879db523c3"}, "879db523c3", ""),
        (SDNEXT, {"infotexts": [], "sd_model_hash": "31e35c80fc"}, "31e35c80fc", "checkpoint 31e"),
        (SDNEXT, {"infotexts": ["Steps and a Model: dreamy_v2"]}, None, "checkpoint not confirmed"),
        (replace(SDNEXT, infotexts=False), {}, None, "checkpoint not confirmed"),
    ],
)
async def test_hash_and_infotexts_tell_which_checkpoint_drew(
    kind: Kind, info: dict[str, object], used: str | None, note: str
) -> None:
    with A1111Server(Script(info=info), kind) as server:
        honoured = receipt_of(await events(server, model=named("dreamy_v2"))).honoured
    assert honoured["checkpoint"].used == used
    assert honoured["checkpoint"].note.startswith(note) and bool(note) is bool(
        honoured["checkpoint"].note
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"images":[],"parameters":{},"info":""}', "checkpoint could not be loaded"),
        (b'{"images":null,"parameters":{},"info":null}', "checkpoint could not be loaded"),
        (b'{"images":[],"parameters":{},"info":"null"}', "checkpoint could not be loaded"),
        (b'{"images":[],"info":"{\\"seed\\": 7}"}', "without a picture. Its console"),
        (b'{"error":"RuntimeError: no kernel"}', "The server failed: RuntimeError: no kernel."),
        (b'{"detail":"model is locked","images":[]}', "The server failed: model is locked."),
    ],
)
async def test_a_200_without_pictures_says_why(body: bytes, words: str) -> None:
    with A1111Server(Script(raw=body)) as server, pytest.raises(ServiceFault) as caught:
        await events(server)
    assert words in str(caught.value)
