"""The A1111 backend against a real server: what it asks for, and what comes of it."""

import logging
from dataclasses import replace

import pytest

from backends.base import Applied, Readiness, Receipt, Request, Sending
from backends.errors import (
    BackendError,
    BadInput,
    NotReady,
    OutOfMemory,
    ServiceFault,
    TimedOut,
    WrongKey,
)
from tests.backends.a1111.case import (
    ASK,
    MODEL,
    backend,
    events,
    named,
    of,
    pictures_of,
    receipt_of,
)
from tests.servers import pictures
from tests.servers.a1111 import A1111Server, failing
from tests.servers.a1111_script import Kind, Script

PASSWORD = "s3cret/with:signs@"


async def test_the_request_in_the_apis_words() -> None:
    asked = Request(
        prompt="a (lighthouse:1.2)",
        negative_prompt="people",
        width=102,
        height=128,
        num_inference_steps=12,
        guidance_scale=5.5,
        seed=7,
        count=2,
        options={
            "a1111": {"sampler_name": "euler A", "scheduler": "sgmuniform", "sparkle": 3},
            "openai": {"quality": "elsewhere"},
        },
    )
    with A1111Server() as server:
        got = await events(server, asked, named("dreamy_v2"))
    (received,) = server.generations
    body = received.json
    assert body.pop("force_task_id")
    assert body == {
        "prompt": "a (lighthouse:1.2)",
        "negative_prompt": "people",
        "width": 104,
        "height": 128,
        "steps": 12,
        "cfg_scale": 5.5,
        "seed": 7,
        "batch_size": 1,
        "n_iter": 2,
        "send_images": True,
        "save_images": False,
        "sampler_name": "Euler a",
        "scheduler": "SGM Uniform",
        "override_settings": {"sd_model_checkpoint": "anime/dreamy_v2.safetensors [6ce0161689]"},
        "override_settings_restore_afterwards": True,
    }
    honoured = receipt_of(got).honoured
    assert honoured["negative_prompt"] == Applied("people", "people")
    assert honoured["size"] == Applied("102x128", "104x128", "104x128 instead of 102x128")
    assert honoured["sampler_name"] == Applied("euler A", "Euler a")
    assert honoured["scheduler"] == Applied("sgmuniform", "SGM Uniform")
    assert honoured["sparkle"].note.startswith("sparkle ignored")
    assert honoured["checkpoint"].note == ""
    assert [picture.seed for picture in pictures_of(got)] == [7, 8]
    assert (pictures_of(got)[0].width, pictures_of(got)[0].height) == (104, 128)


async def test_the_loaded_checkpoint_is_left_alone_and_named() -> None:
    with A1111Server() as server:
        honoured = receipt_of(await events(server)).honoured
    assert "override_settings" not in server.generations[0].json
    assert honoured["checkpoint"] == Applied(None, "v1-5-pruned-emaonly")
    assert not [each for each in server.requests if "options" in each.path]


@pytest.mark.parametrize(
    "name",
    [
        "sd_xl_base_1.0.safetensors [6ce0161689]",
        "SD_XL_base_1.0.safetensors",
        "sd_xl_base_1.0",
    ],
)
async def test_a_checkpoint_goes_by_any_of_its_names(name: str) -> None:
    with A1111Server() as server:
        honoured = receipt_of(await events(server, model=named(name))).honoured
    override = server.generations[0].json["override_settings"]
    assert override == {"sd_model_checkpoint": "sd_xl_base_1.0.safetensors [6ce0161689]"}
    assert honoured["checkpoint"].used == "sd_xl_base_1.0"
    assert honoured["checkpoint"].note == ""


async def test_an_unknown_checkpoint_is_found_out_before_anything_is_sent() -> None:
    with A1111Server() as server, pytest.raises(BadInput) as caught:
        await events(server, model=named("sd_xl_bse"))
    assert "no checkpoint sd_xl_bse" in str(caught.value)
    assert "sd_xl_base_1.0.safetensors [6ce0161689]" in str(caught.value)
    assert server.generations == []


async def test_a_server_that_draws_with_another_checkpoint_is_told_on() -> None:
    with A1111Server(Script(info={"sd_model_name": "v1-5-pruned-emaonly"})) as server:
        honoured = receipt_of(await events(server, model=named("dreamy_v2"))).honoured
    assert honoured["checkpoint"].note == (
        "checkpoint v1-5-pruned-emaonly instead of anime/dreamy_v2.safetensors [6ce0161689]"
    )


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


async def test_a_server_too_old_for_schedules_draws_without() -> None:
    asked = replace(ASK, options={"a1111": {"scheduler": "Karras"}})
    with A1111Server(kind=Kind(schedules=False)) as server:
        honoured = receipt_of(await events(server, asked)).honoured
    assert "scheduler" not in server.generations[0].json
    assert honoured["scheduler"].used is None
    assert honoured["scheduler"].note.startswith("schedule type ignored")


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


async def test_user_and_password_travel_in_a_header_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with A1111Server(auth=("me", PASSWORD)) as server, caplog.at_level(logging.DEBUG):
        address = server.origin.replace("//", "//me:s3cret%2Fwith%3Asigns%40@") + "/sdapi/v1/"
        got = await events(server, A1111_URL=address)
        assert isinstance(got[-1], Receipt)
        got = await events(server, A1111_USER="me", A1111_PASSWORD=PASSWORD)
        assert isinstance(got[-1], Receipt)
        with pytest.raises(WrongKey) as caught:
            await events(server)
        assert "set A1111_USER and A1111_PASSWORD" in str(caught.value)
    assert "/sdapi/v1/txt2img" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        (failing(500, error="OutOfMemoryError", errors="CUDA out of memory."), OutOfMemory, "med"),
        (failing(422, "Script 'x' not found"), BadInput, "Script 'x' not found."),
        (failing(404, "Not Found"), NotReady, "--api"),
        (Script(status=307, raw=b"{}", headers={"Location": "/x"}), NotReady, "moved"),
        (Script(status=500, raw=b"Internal Server Error"), ServiceFault, "it gave no reason."),
        (failing(500, errors="No /home/me/models/x.pt there"), ServiceFault, "No (path) there."),
    ],
)
async def test_what_the_server_says_becomes_a_sentence(
    script: Script, kind: type[BackendError], words: str
) -> None:
    with A1111Server(script) as server, pytest.raises(kind) as caught:
        await events(server)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("everything", "kind", "words"),
    [
        (Script(raw=b"<html>Gradio</html>", media_type="text/html"), ServiceFault, "A1111_URL"),
        (failing(404, "Not Found"), NotReady, "Start it with --api"),
        (Script(hang=True), TimedOut, "Nothing was sent"),
        (Script(raw=b'{"state": 1}', cut=4), TimedOut, "Nothing was sent"),
    ],
)
async def test_an_address_of_something_else_is_found_out_before_anything_is_sent(
    everything: Script, kind: type[BackendError], words: str
) -> None:
    with A1111Server() as server:
        server.everything = everything
        drawer = backend(server.origin, LINEUP_ANSWER_SECONDS="0.5")
        with pytest.raises(kind) as caught:
            async for event in drawer.generate(MODEL, ASK):
                assert not isinstance(event, Sending)
        await drawer.aclose()
    assert words in str(caught.value)
    assert server.generations == []


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:7861", "ftp://box", "http://[box", "http://b:99999"]
)
async def test_no_address_or_none_of_use(url: str) -> None:
    ready = backend(url).ready(MODEL)
    assert ready.state is Readiness.UNAVAILABLE
    assert "A1111_URL" in ready.sentence
    assert backend(url).lane(MODEL).width == 1
    with pytest.raises(NotReady):
        await anext(backend(url).generate(MODEL, ASK))


def test_one_lane_for_each_server() -> None:
    first, second = backend("http://me:pw@box:7861/"), backend("http://other:7861")
    assert first.ready(MODEL).state is Readiness.READY
    assert first.lane(MODEL) == first.lane(named("another"))
    assert first.lane(MODEL).name != second.lane(MODEL).name
    assert first.lane(MODEL).width == 1
    assert "pw" not in first.lane(MODEL).name


async def test_a_closed_backend_draws_again() -> None:
    with A1111Server() as server:
        drawer = backend(server.origin)
        for _ in range(2):
            got = [event async for event in drawer.generate(MODEL, ASK)]
            assert len(of(Receipt, got)) == 1
            await drawer.aclose()
