"""The ComfyUI backend against a real server: what it asks for, and what comes of it."""

import logging
from dataclasses import replace

import pytest

from backends.base import Applied, Picture, Readiness, Receipt, Request
from backends.errors import NotReady, ServiceFault, WrongKey
from tests.backends.comfyui.case import (
    ASK,
    MODEL,
    backend,
    events,
    named,
    nodes,
    of,
    pictures_of,
    receipt_of,
)
from tests.servers.comfyui import ComfyUIServer, basic, failing
from tests.servers.comfyui_script import Kind, Script

PASSWORD = "s3cret/with:signs@"


async def test_the_request_in_the_workflows_words() -> None:
    asked = Request(
        prompt="a (lighthouse:1.2)",
        negative_prompt="people",
        width=102,
        height=128,
        num_inference_steps=12,
        guidance_scale=5.5,
        seed=7,
        options={
            "comfyui": {"sampler": "dpmpp_2m", "scheduler": "karras", "sparkle": 3},
            "openai": {"quality": "elsewhere"},
        },
    )
    with ComfyUIServer() as server:
        got = await events(server, asked, named("dreamy_v2"))
    (received,) = server.asked("/prompt")
    graph = received.json["prompt"]
    sampler = next(node for node in graph.values() if node["class_type"] == "KSampler")["inputs"]
    assert graph[sampler["positive"][0]]["inputs"]["text"] == "a (lighthouse:1.2)"
    assert graph[sampler["negative"][0]]["inputs"]["text"] == "people"
    assert graph[sampler["latent_image"][0]]["inputs"] == {
        "width": 104,
        "height": 128,
        "batch_size": 1,
    }
    assert graph[sampler["model"][0]]["inputs"] == {"ckpt_name": "anime/dreamy_v2.ckpt"}
    plain = {name: value for name, value in sampler.items() if not isinstance(value, list)}
    assert plain == {
        "seed": 7,
        "steps": 12,
        "cfg": 5.5,
        "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
        "denoise": 1.0,
    }
    honoured = receipt_of(got).honoured
    assert honoured["negative_prompt"] == Applied("people", "people")
    assert honoured["size"] == Applied("102x128", "104x128", "104x128 instead of 102x128")
    assert honoured["sampler"] == Applied("dpmpp_2m", "dpmpp_2m")
    assert honoured["sparkle"].note.startswith("sparkle ignored")
    assert honoured["checkpoint"] == Applied("dreamy_v2", "anime/dreamy_v2.ckpt")
    (picture,) = pictures_of(got)
    assert (picture.seed, picture.width, picture.height) == (7, 104, 128)
    (saved,) = server.files.values()
    assert picture.data == saved, "as it came, byte for byte"


async def test_each_picture_has_a_seed_of_its_own() -> None:
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, count=3))
    assert [picture.seed for picture in pictures_of(got)] == [7, 8, 9]
    assert [nodes(server, number)["KSampler"]["seed"] for number in range(3)] == [7, 8, 9]
    ids = {received.json["prompt_id"] for received in server.asked("/prompt")}
    assert len(ids) == 3, "three prompts, and none of them twice"
    assert receipt_of(got).honoured["count"] == Applied(3, 3)


async def test_a_seed_that_nobody_chose_is_told() -> None:
    with ComfyUIServer() as server:
        got = await events(server, replace(ASK, seed=None))
        again = await events(server, replace(ASK, seed=None))
    seed = nodes(server)["KSampler"]["seed"]
    assert pictures_of(got)[0].seed == seed
    assert receipt_of(got).honoured["seed"] == Applied(None, seed)
    assert pictures_of(again)[0].seed != seed


async def test_what_came_before_a_failure_is_kept() -> None:
    with ComfyUIServer() as server:
        got: list[object] = []
        drawer = backend(server.origin)
        async for event in drawer.generate(MODEL, replace(ASK, count=3)):
            got.append(event)
            if isinstance(event, Picture):
                server.usual = Script(fault={"exception_message": "A tensor with NaNs was made."})
        await drawer.aclose()
    receipt = got[-1]
    assert isinstance(receipt, Receipt)
    assert receipt.honoured["count"].used == 1
    assert "1 instead of 3 pictures: " in receipt.honoured["count"].note
    assert "A tensor with NaNs was made." in receipt.honoured["count"].note


async def test_seconds_are_the_servers_own() -> None:
    with ComfyUIServer(Script(delay=0.6)) as server:
        receipt = receipt_of(await events(server))
        (job,) = server.jobs
    stamps = {kind: data["timestamp"] for kind, data in job.messages}
    taken = (stamps["execution_success"] - stamps["execution_start"]) / 1000
    assert receipt.generate is not None and receipt.load is not None
    assert receipt.generate + receipt.load == pytest.approx(taken)
    assert not receipt.cached
    assert receipt.charged is None and receipt.usage == {}


async def test_a_server_without_a_clock_leaves_the_seconds_to_us() -> None:
    with ComfyUIServer(kind=Kind(stamps=False)) as server:
        assert receipt_of(await events(server)).generate is None


async def test_who_asks_is_said_in_a_header_alone(caplog: pytest.LogCaptureFixture) -> None:
    with (
        ComfyUIServer(authorization=basic("me", PASSWORD)) as server,
        caplog.at_level(logging.DEBUG),
    ):
        address = server.origin.replace("//", "//me:s3cret%2Fwith%3Asigns%40@") + "/api/"
        assert isinstance((await events(server, COMFYUI_URL=address))[-1], Receipt)
        got = await events(server, COMFYUI_USER="me", COMFYUI_PASSWORD=PASSWORD)
        assert isinstance(got[-1], Receipt)
        assert server.opened == 2, "the websocket is let in as well"
        server.authorization = "Bearer t0ken-of-the-proxy"
        got = await events(server, COMFYUI_TOKEN="t0ken-of-the-proxy")
        assert isinstance(got[-1], Receipt)
        with pytest.raises(WrongKey) as caught:
            await events(server)
        assert "set COMFYUI_USER and COMFYUI_PASSWORD" in str(caught.value)
    assert "/prompt" in caplog.text
    for secret in ("s3cret", "t0ken", basic("me", PASSWORD)):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8188", "ftp://box", "http://[box", "http://b:99999"]
)
async def test_no_address_or_none_of_use(url: str) -> None:
    ready = backend(url).ready(MODEL)
    assert ready.state is Readiness.UNAVAILABLE
    assert "COMFYUI_URL" in ready.sentence
    assert backend(url).lane(MODEL).width == 1
    with pytest.raises(NotReady):
        await anext(backend(url).generate(MODEL, ASK))


def test_one_lane_for_each_server() -> None:
    first, second = backend("http://me:pw@box:8188/"), backend("http://other:8188")
    assert first.ready(MODEL).state is Readiness.READY
    assert first.lane(MODEL) == first.lane(named("another"))
    assert first.lane(MODEL).name != second.lane(MODEL).name
    assert first.lane(MODEL).width == 1
    assert "pw" not in first.lane(MODEL).name


async def test_the_check_names_what_the_server_has() -> None:
    with ComfyUIServer() as server:
        drawer = backend(server.origin)
        said = await drawer.check()
        assert "It has v1-5-pruned-emaonly.safetensors, sd_xl_base_1.0.safetensors and" in said
        server.everything = failing(503)
        with pytest.raises(ServiceFault):
            await drawer.check()
        await drawer.aclose()
        assert server.asked("/prompt") == []


async def test_a_closed_backend_draws_again() -> None:
    with ComfyUIServer() as server:
        drawer = backend(server.origin)
        for _ in range(2):
            got = [event async for event in drawer.generate(MODEL, ASK)]
            assert len(of(Receipt, got)) == 1
            await drawer.aclose()
