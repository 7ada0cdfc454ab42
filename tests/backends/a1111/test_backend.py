"""The A1111 backend against a real server: what it asks for, and what comes of it."""

import logging

import pytest

from backends.base import Applied, Readiness, Receipt, Request
from backends.errors import NotReady, WrongKey
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
from tests.servers.a1111 import A1111Server

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
        "override_settings": {"sd_model_checkpoint": "anime/dreamy_v2.safetensors [879db523c3]"},
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
