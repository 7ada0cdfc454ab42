"""Settings in pictures, as four programs write them, and what a file can do wrong."""

import io
import json
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from backends.base import Request
from backends.images import metadata
from backends.images.encoding import recipe
from backends.images.metadata import Found

INFOTEXT = """a lighthouse, <lora:glow:0.8>, at dusk
over the sea
Negative prompt: people, fog
Steps: 28, Sampler: DPM++ 2M, CFG scale: 6.5, Seed: 1234, Size: 832x1216, Model: "sd: xl, base\""""
GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 77,
            "steps": 12,
            "cfg": 4.0,
            "sampler_name": "euler",
            "model": ["11", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
    "11": {"class_type": "LoraLoader", "inputs": {"lora_name": "glow.pt", "model": ["4", 0]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768}},
    "6": {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["8", 0]}},
    "8": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "rain", "clip": ["4", 1]}},
}


def png(**texts: str) -> bytes:
    """Return a PNG with text chunks."""
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text, zip=len(text) > 1000)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def with_comment(kind: str, comment: bytes) -> bytes:
    """Return a picture with an Exif UserComment."""
    image = Image.new("RGB", (8, 8))
    exif = image.getexif()
    exif.get_ifd(0x8769)[0x9286] = comment
    out = io.BytesIO()
    image.save(out, kind, exif=exif)
    return out.getvalue()


def test_the_notation_of_the_web_ui() -> None:
    found = metadata.read(png(parameters=INFOTEXT))
    assert found == Found(
        tool="parameters as AUTOMATIC1111 writes them",
        prompt="a lighthouse, <lora:glow:0.8>, at dusk\nover the sea",
        negative_prompt="people, fog",
        num_inference_steps=28,
        guidance_scale=6.5,
        seed=1234,
        width=832,
        height=1216,
        scheduler="DPM++ 2M",
        model="sd: xl, base",
        loras=("glow",),
    )


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + INFOTEXT.encode("utf-16-be"),
        b"UNICODE\0" + INFOTEXT.encode("utf-16-le"),
        b"ASCII\0\0\0" + INFOTEXT.encode(),
    ],
    ids=["big endian", "little endian", "ascii"],
)
def test_the_comment_of_a_jpeg_or_webp(kind: str, comment: bytes) -> None:
    found = metadata.read(with_comment(kind, comment))
    assert found is not None
    assert (found.seed, found.negative_prompt) == (1234, "people, fog")


def test_lineups_own_pictures() -> None:
    request = Request(prompt="ein Fuchs, 星", negative_prompt="Regen", num_inference_steps=9)
    text = recipe(request, model="sdxl", seed=5, scheduler="Euler", size=(64, 96))
    found = metadata.read(png(parameters=text))
    assert found is not None
    assert (found.prompt, found.negative_prompt, found.seed) == ("ein Fuchs, 星", "Regen", 5)
    assert (found.width, found.height, found.num_inference_steps) == (64, 96, 9)
    assert found.guidance_scale is None


def test_swarm() -> None:
    given = {"prompt": "a fox", "negativeprompt": "", "seed": 3, "steps": 20, "cfgscale": 7}
    text = json.dumps({"sui_image_params": {**given, "loras": ["glow"], "model": "sdxl"}})
    found = metadata.read(png(parameters=text))
    assert found == Found(
        tool="SwarmUI",
        prompt="a fox",
        seed=3,
        num_inference_steps=20,
        guidance_scale=7,
        loras=("glow",),
        model="sdxl",
    )


def test_a_graph_is_followed_through_its_links() -> None:
    found = metadata.read(png(prompt=json.dumps(GRAPH)))
    assert found == Found(
        tool="ComfyUI",
        prompt="a red fox",
        negative_prompt="rain",
        num_inference_steps=12,
        guidance_scale=4.0,
        seed=77,
        width=512,
        height=768,
        scheduler="euler",
        model="sd15.safetensors",
        loras=("glow.pt",),
    )


def test_several_samplers_are_said() -> None:
    found = metadata.read(png(prompt=json.dumps({**GRAPH, "30": GRAPH["3"]})))
    assert found is not None
    assert found.tool == "ComfyUI, the first of its 2 samplers"


CYCLE = {
    str(number): {
        "class_type": "KSampler" if number == 0 else "Combine",
        "inputs": {"steps": 1, "positive": ["1", 0]}
        | {f"link{other}": [str(other), 0] for other in range(60)},
    }
    for number in range(60)
}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        png(),
        png(parameters="just a prompt, with: one, colon"),
        png(parameters="{" * 5000),
        png(parameters='{"sui_image_params": 3}'),
        png(parameters="Steps: 1, Seed: 2, Size: 3x4 " + "a:" * 90_000),
        png(parameters="x" * 300_000),
        png(prompt="[1, 2]"),
        png(prompt='{"3": {"class_type": "KSampler", "inputs": 5}}'),
        with_comment("JPEG", b"\xff" * 40),
    ],
)
def test_what_is_no_settings_is_none(data: bytes) -> None:
    found = metadata.read(data)
    assert found is None or found.prompt is None


def test_a_graph_of_circles_ends() -> None:
    found = metadata.read(png(prompt=json.dumps(CYCLE)))
    assert found is not None
    assert found.prompt is None
