"""Tags in the prompt: looked up on an A1111 server, before anything is sent."""

from dataclasses import replace

import pytest

from backends.base import Applied
from backends.errors import BadInput
from tests.backends.a1111.case import ASK, events, receipt_of
from tests.servers.a1111 import A1111Server
from tests.servers.a1111_script import SDNEXT, Kind, json_script

KIND = Kind(loras=("glow", "styles/Pixel Art", "add_detail"), hypernetworks=("anime_3",))


@pytest.mark.parametrize(
    ("tags", "sent"),
    [
        ("<lora:glow:0.8>", "<lora:glow:0.8>"),
        ("<lora:glow>", "<lora:glow>"),
        ("<lora:GLOW:-0.5>", "<lora:glow:-0.5>"),
        ("<lora:glow:0.8:0.4>", "<lora:glow:0.8:0.4>"),
        ("<lora:glow:te=0.5:unet=1>", "<lora:glow:te=0.5:unet=1>"),
        ("<lora:glow:1@0,0.2@0.5>", "<lora:glow:1@0,0.2@0.5>"),
        ("<lora:styles/pixel art:1>", "<lora:Pixel Art:1>"),
        ("<lora:styles\\Pixel Art.safetensors:1>", "<lora:Pixel Art:1>"),
        ("<lyco:glow:0.8>", "<lora:glow:0.8>"),
        ("<hypernet:Anime_3:1>", "<hypernet:anime_3:1>"),
        ("<lora:glow:1>, fog <lora:add_detail:2>", "<lora:glow:1>, fog <lora:add_detail:2>"),
    ],
)
async def test_a_tag_is_sent_with_the_servers_own_name(tags: str, sent: str) -> None:
    with A1111Server(kind=KIND) as server:
        got = await events(server, replace(ASK, prompt=f"a lighthouse {tags} at night"))
    assert server.generations[0].json["prompt"] == f"a lighthouse {sent} at night"
    assert receipt_of(got).honoured["loras"].note == ""


async def test_sdnext_writes_no_full_stops() -> None:
    with A1111Server(kind=SDNEXT) as server:
        await events(server, replace(ASK, prompt="a lighthouse <lora:glow.v2:1>"))
    assert server.generations[0].json["prompt"] == "a lighthouse <lora:glow_v2:1>"


@pytest.mark.parametrize(
    ("kind", "tag", "words"),
    [
        (KIND, "<lora:glwo:0.8>", "no LoRA glwo. It has glow."),
        (KIND, "<lyco:add_detials:1>", "no LoRA add_detials. It has add_detail."),
        (KIND, "<lora:other/glow2:1>", "no LoRA other/glow2. "),
        (KIND, "<hypernet:anime_4:1>", "no hypernetwork anime_4. It has anime_3."),
        (replace(KIND, loras=()), "<lora:glow:1>", "no LoRA glow. It has none at all."),
        (SDNEXT, "<lora:glow:1>", "no LoRA glow. It has glow_v2."),
        (KIND, "<lora:glow:strong>", "weight strong of the LoRA glow is no number"),
        (KIND, "<lora:glow:0,8>", "weight 0,8 of the LoRA glow is no number"),
        (KIND, "<lora:glow:>", "weight (empty) of the LoRA glow is no number"),
    ],
)
async def test_what_the_server_would_drop_in_silence_is_said(
    kind: Kind, tag: str, words: str
) -> None:
    with A1111Server(kind=kind) as server, pytest.raises(BadInput) as caught:
        await events(server, replace(ASK, prompt=f"a lighthouse {tag}"))
    assert words in str(caught.value)
    assert server.generations == []


async def test_a_lora_that_is_newer_than_the_servers_list_is_found() -> None:
    with A1111Server(kind=KIND) as server:
        server.listed_loras = ()
        got = await events(server, replace(ASK, prompt="a lighthouse <lora:glow:0.8>"))
    assert receipt_of(got).honoured["loras"] == Applied("glow:0.8", "glow:0.8")


@pytest.mark.parametrize(
    ("kind", "request_", "note"),
    [
        (Kind(), {"prompt": "a lighthouse <lora:glow:1>"}, "LoRA glow not checked: "),
        (
            Kind(broken={"/sdapi/v1/loras": json_script({"error": "KeyError"}, 500)}),
            {"prompt": "a lighthouse <lora:glow:1>"},
            "LoRA glow not checked: ",
        ),
        (KIND, {"prompt": "a lighthouse <segment:sky>"}, "<segment:sky> left to the server"),
        (KIND, {"negative_prompt": "<lora:glow:1>"}, "tags in the negative prompt are mere words"),
    ],
)
async def test_what_is_not_known_is_noted(kind: Kind, request_: dict[str, str], note: str) -> None:
    with A1111Server(kind=kind) as server:
        got = await events(server, replace(ASK, **request_))  # pyright: ignore[reportArgumentType]
    assert note in receipt_of(got).honoured["loras"].note


async def test_a_prompt_without_tags_asks_for_no_list() -> None:
    with A1111Server(kind=KIND) as server:
        got = await events(server, replace(ASK, prompt="a < b and c > d: <3"))
    assert "loras" not in receipt_of(got).honoured
    assert not [each for each in server.requests if "lora" in each.path]
