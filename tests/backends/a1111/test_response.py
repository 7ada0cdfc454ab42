"""Responses of an A1111 server: pictures, seeds, and what the server changed."""

from dataclasses import replace

import pytest

from backends.base import Applied
from tests.backends.a1111.case import ASK, events, named, pictures_of, receipt_of
from tests.servers import pictures
from tests.servers.a1111 import A1111Server
from tests.servers.a1111_script import Script


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
