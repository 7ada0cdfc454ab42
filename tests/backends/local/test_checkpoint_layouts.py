"""Checkpoints and other files, by what they hold: drawn as they say, or refused by name.

A table of contents by family. What is loaded is compared with a reference: the weights of each part
and the settings of the noise schedule. What is refused is refused before anything is loaded, with a
layout or without one.
"""

import json
import shutil
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from safetensors.torch import load_file, save_file

from backends.base import Config, Control, Loading, Model, Picture, Readiness, Request
from backends.errors import BackendError, BadInput, NotReady
from backends.local import Local
from backends.local.job import ModelSpec
from backends.local.loading import Loaded, load_pipeline
from backends.local.memory.devices import Budgets, choose_device
from tests.backends.local.test_inference import events_of, pixels
from tests.backends.local.tiny import adapters, sdxl, transformers
from tests.backends.local.tiny import models as tiny
from tests.servers.pictures import plain

Tensors = dict[str, torch.Tensor]
ASK = Request(prompt="a red circle", seed=5, num_inference_steps=2)
FAMILIES = ("diffusion", "sdxl")
UNET = "model.diffusion_model."
LAYER = f"{UNET}input_blocks.1.0.in_layers.2.weight"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder and a file of each family."""
    here = tmp_path_factory.mktemp("here")
    tiny.diffusion(here / "diffusion", latents=4)
    sdxl.sdxl(here / "sdxl")
    transformers.flux(here / "flux")
    for family in FAMILIES:
        tiny.single_file(here / f"{family}.safetensors", here / family)
    return here


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value={}.get, home=tmp_path))
    yield backend
    await backend.aclose()


async def drawn(local: Local, model: Model, request: Request) -> Any:
    """The pixels of the picture."""
    picture = (await events_of(local, model, request))[-2]
    assert isinstance(picture, Picture)
    return pixels(picture)


def file_of(here: Path, family: str) -> Tensors:
    return load_file(here / f"{family}.safetensors")


def loaded(file: Path, layout: Path) -> Loaded:
    spec = ModelSpec(source=str(file), label="Tiny", config=str(layout))
    return load_pipeline(spec, choose_device("cpu", Budgets(None, None, 1))).value


def fp8(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """Plain 8-bit numbers, and what they stand for."""
    small = {
        name: each.to(torch.float8_e4m3fn) if name.startswith(UNET) else each
        for name, each in tensors.items()
    }
    return small, {name: each.float() for name, each in small.items()}


def _scaled(ending: str, rows: bool) -> Any:
    def scaled(tensors: Tensors) -> tuple[Tensors, Tensors]:
        small, reference = dict(tensors), dict(tensors)
        for name, each in tensors.items():
            if name.startswith(UNET) and name.endswith(".weight") and each.ndim > 1:
                top = each.abs().flatten(1).amax(1) if rows else each.abs().max()
                scale = (top / 448).reshape(-1, *[1] * (each.ndim - 1)) if rows else top / 448
                small[name] = (each / scale).to(torch.float8_e4m3fn)
                reference[name] = small[name].float() * scale
                base = name.removesuffix("weight")
                small[f"{base}{ending}"] = scale.flatten() if rows else scale
        more = {"scaled_fp8": torch.ones(2), f"{LAYER[:-6]}scale_input": torch.ones(())}
        return small | more, reference

    return scaled


scaled_fp8 = _scaled("scale_weight", rows=False)
scaled_rows = _scaled("weight_scale", rows=True)


def half(tensors: Tensors) -> tuple[Tensors, Tensors]:
    small = {name: each.half() for name, each in tensors.items()}
    return small, {name: each.float() for name, each in small.items()}


def averaged(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """With the copies and constants that training leaves in a file."""
    copies = {f"model_ema.{n}": torch.ones_like(each) for n, each in tensors.items() if UNET in n}
    return {**tensors, **copies, "alphas_cumprod": torch.ones(1000)}, tensors


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", [half, fp8, averaged, scaled_fp8, scaled_rows])
def test_weights_are_those_of_the_file(here: Path, tmp_path: Path, family: str, form: Any) -> None:
    tensors, reference = form(file_of(here, family))
    save_file(tensors, tmp_path / "file.safetensors")
    save_file(reference, tmp_path / "reference.safetensors")
    ours = loaded(tmp_path / "file.safetensors", here / family)
    right: Any = loaded(tmp_path / "reference.safetensors", here / family).model
    assert not ours.ignored
    for part in ("unet", "vae"):
        for name, weight in getattr(ours.model, part).state_dict().items():
            assert (weight == getattr(right, part).state_dict()[name]).all(), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("extra", "note"),
    [
        ({f"{UNET}extra.weight": (4, 4)}, "16 of the weights of 'unet' ignored"),
        ({f"{UNET}extra.bias": (3,)}, "3 of the weights of 'unet' ignored"),
        ({"first_stage_model.extra.weight": (2, 2)}, "4 of the weights of 'vae' ignored"),
        ({"control.a.weight": (4, 4), "control.b.weight": (4, 4)}, "weight and 1 more ignored"),
    ],
)
def test_weights_that_nothing_took_are_named(
    here: Path, tmp_path: Path, family: str, extra: dict[str, tuple[int, ...]], note: str
) -> None:
    more = {name: torch.ones(shape) for name, shape in extra.items()}
    save_file(file_of(here, family) | more, tmp_path / "more.safetensors")
    assert note in loaded(tmp_path / "more.safetensors", here / family).ignored["weights"].note


def test_weights_of_a_folder_that_nothing_took_are_named(here: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(here / "diffusion", tmp_path / "more"))
    weights = folder / "unet" / tiny.WEIGHTS
    save_file(load_file(weights) | {"extra.weight": torch.ones(4, 4)}, weights)
    assert "16 of the weights of 'unet'" in loaded(folder, folder).ignored["weights"].note


V = {"prediction_type": "v_prediction"}
ZERO = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
MARKERS: dict[str, tuple[list[str], dict[str, str], dict[str, Any]]] = {
    "v_pred": (["v_pred"], {}, V),
    "v_pred and ztsnr": (["v_pred", "ztsnr"], {}, {**V, **ZERO}),
    "ztsnr alone": (["ztsnr"], {}, {"prediction_type": "epsilon", **ZERO}),
    "modelspec": ([], {"modelspec.prediction_type": "v"}, V),
    "modelspec at length": ([], {"modelspec.prediction_type": "v-prediction"}, V),
    "modelspec of the usual": ([], {"modelspec.prediction_type": "epsilon"}, {}),
    "modelspec's architecture": ([], {"modelspec.architecture": "stable-diffusion-v2-768-v"}, V),
    "kohya": ([], {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, {**V, **ZERO}),
    "kohya of the usual": ([], {"ss_v_parameterization": "False"}, {}),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", MARKERS)
def test_a_file_is_drawn_with_the_schedule_that_it_names(
    here: Path, tmp_path: Path, family: str, case: str
) -> None:
    names, metadata, settings = MARKERS[case]
    marks = {name: torch.tensor([]) for name in names}
    save_file(file_of(here, family) | marks, tmp_path / "marked.safetensors", metadata)
    scheduler = loaded(tmp_path / "marked.safetensors", here / family).scheduler
    kind = {"diffusion": DDIMScheduler, "sdxl": EulerDiscreteScheduler}[family]
    usual: Any = cast(Any, kind).from_pretrained(here / family, subfolder="scheduler")
    expected = type(usual).from_config(usual.config, **settings)
    assert type(scheduler) is type(expected)
    assert torch.equal(scheduler.alphas_cumprod, expected.alphas_cumprod)
    for name in ("prediction_type", "timestep_spacing"):
        assert scheduler.config[name] == expected.config[name]


async def test_a_marked_file_draws_as_a_folder_with_these_settings(
    local: Local, here: Path, tmp_path: Path
) -> None:
    marks = {name: torch.tensor([]) for name in ("v_pred", "ztsnr")}
    save_file(file_of(here, "sdxl") | marks, tmp_path / "marked.safetensors")
    folder = Path(shutil.copytree(here / "sdxl", tmp_path / "folder"))
    settings = folder / "scheduler" / "scheduler_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **V, **ZERO}))
    asked = replace(ASK, options={"local": {"config": str(here / "sdxl")}})
    marked = await drawn(local, tiny.model(tmp_path / "marked.safetensors"), asked)
    right = await drawn(local, tiny.model(folder), ASK)
    usual = await drawn(local, tiny.model(here / "sdxl"), ASK)
    assert (marked == right).all()
    assert (marked != usual).any()


def test_a_schedule_that_cannot_end_without_signal_is_replaced(here: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(here / "diffusion", tmp_path / "folder"))
    settings = folder / "scheduler" / "scheduler_config.json"
    settings.write_text(
        json.dumps({**json.loads(settings.read_text()), "_class_name": "PNDMScheduler"})
    )
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("DDIMScheduler", "PNDMScheduler"))
    save_file(file_of(here, "diffusion") | {"ztsnr": torch.tensor([])}, tmp_path / "m.safetensors")
    scheduler = loaded(tmp_path / "m.safetensors", folder).scheduler
    assert scheduler.config["rescale_betas_zero_snr"]
    assert float(scheduler.alphas_cumprod[-1]) < 1e-6


async def test_a_scheduler_that_cannot_end_without_signal_is_not_taken(
    local: Local, here: Path, tmp_path: Path
) -> None:
    save_file(file_of(here, "sdxl") | {"ztsnr": torch.tensor([])}, tmp_path / "m.safetensors")
    options = {"config": str(here / "sdxl"), "scheduler": "Heun"}
    model, asked = tiny.model(tmp_path / "m.safetensors"), replace(ASK, options={"local": options})
    with pytest.raises(BadInput, match=r"cannot work with the scheduler Heun. Choose one of Euler"):
        await drawn(local, model, asked)
    for name in ("DDIM", "DPM++ 2M"):
        asked = replace(ASK, options={"local": {**options, "scheduler": name}})
        assert (await drawn(local, model, asked)).any()


def some(*names: str) -> Tensors:
    return {name: torch.ones(4, 4) for name in names}


QUANTIZED: dict[str, tuple[Tensors, str]] = {
    "scaled fp8 of ComfyUI": (
        {f"{LAYER[:-6]}scale_weight": torch.ones(()), "scaled_fp8": torch.ones(2)},
        "scaled 8-bit numbers",
    ),
    "scaled fp8 at length": ({f"{LAYER}_scale": torch.ones(())}, "scaled 8-bit numbers"),
    "scaled fp8 with inputs": ({f"{LAYER[:-6]}input_scale": torch.ones(())}, "scaled 8-bit"),
    "a scaled text encoder": (
        {
            "cond_stage_model.a.weight": torch.ones(4, 4).to(torch.float8_e4m3fn),
            "cond_stage_model.a.scale_weight": torch.ones(()),
        },
        r"scaled 8-bit numbers \(cond_stage_model.a.scale_weight\)",
    ),
    "blocks of DeepSeek": ({f"{LAYER}_scale_inv": torch.ones(2, 2)}, "scaled 8-bit numbers"),
    "a note of ComfyUI": ({f"{LAYER[:-6]}comfy_quant": torch.ones(9)}, "scaled 8-bit numbers"),
    "NF4": (
        {f"{LAYER}.absmax": torch.ones(8), f"{LAYER}.quant_state.bitsandbytes__nf4": torch.ones(9)},
        "4-bit numbers of bitsandbytes",
    ),
    "NF4 nested": ({f"{LAYER}.nested_absmax": torch.ones(8)}, "4-bit numbers of bitsandbytes"),
    "int8": ({f"{LAYER[:-6]}SCB": torch.ones(8)}, "8-bit numbers of bitsandbytes"),
    "SVDQuant": ({f"{LAYER[:-6]}wscales": torch.ones(8)}, "packed 4-bit numbers"),
    "GPTQ": ({f"{LAYER[:-6]}qweight": torch.ones(8, 8).int()}, "packed 4-bit numbers"),
    "plain int8": ({LAYER: torch.ones(32, 32, 3, 3).to(torch.int8)}, "numbers of the type I8"),
}


async def refused(local: Local, source: Path, config: str, words: str) -> BackendError:
    """The model is refused in these words, before anything is loaded, in the list and in a run."""
    model = tiny.model(source)
    ready = local.ready(model)
    assert ready.state is Readiness.UNAVAILABLE
    events = local.generate(model, replace(ASK, options={"local": {"config": config}}))
    with pytest.raises(BackendError, match=words) as caught:
        assert not [event async for event in events if isinstance(event, Loading)]
    assert str(caught.value) == ready.sentence
    assert str(source.parent) not in ready.sentence
    return caught.value


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", QUANTIZED)
async def test_quantized_weights_are_refused_by_name(
    local: Local, here: Path, tmp_path: Path, family: str, case: str
) -> None:
    more, words = QUANTIZED[case]
    save_file(file_of(here, family) | more, tmp_path / "one.safetensors")
    error = await refused(local, tmp_path / "one.safetensors", str(here / family), words)
    assert isinstance(error, NotReady)


@pytest.mark.parametrize("part", ["unet", "transformer"])
async def test_quantized_weights_of_a_folder_are_refused_by_name(
    local: Local, here: Path, tmp_path: Path, part: str
) -> None:
    family = {"unet": "diffusion", "transformer": "flux"}[part]
    folder = Path(shutil.copytree(here / family, tmp_path / "scaled"))
    weights = folder / part / tiny.WEIGHTS
    save_file(load_file(weights) | {"x.weight_scale": torch.ones(())}, weights)
    await refused(local, folder, "", "are scaled 8-bit numbers")


def _part(prefix: str, more: str = "") -> Any:
    def part(here: Path) -> Tensors:
        tensors = file_of(here, "diffusion")
        return {
            f"{more}{name.removeprefix(prefix)}": each
            for name, each in tensors.items()
            if name.startswith(prefix)
        }

    return part


def _saved(*path: str) -> Any:
    def saved(here: Path) -> Tensors:
        return load_file(here.joinpath("diffusion", *path))

    return saved


def _lora(kohya: bool) -> Any:
    def lora(here: Path) -> Tensors:
        return load_file(adapters.lora(here / "lora.safetensors", here / "diffusion", kohya=kohya))

    return lora


def _controlnet(here: Path) -> Tensors:
    return load_file(tiny.controlnet(here / "net", here / "diffusion") / tiny.WEIGHTS)


FOREIGN: dict[str, tuple[Any, str]] = {
    "a VAE as published": (_part("first_stage_model."), "is a VAE"),
    "a VAE of a checkpoint": (_part("first_stage_model.", "first_stage_model."), "is a VAE"),
    "a VAE of diffusers": (_saved("vae", tiny.WEIGHTS), "is a VAE"),
    "CLIP": (_saved("text_encoder", "model.safetensors"), "is a language model or text encoder"),
    "CLIP of a checkpoint": (_part("cond_stage_model.", "cond_stage_model."), "or text encoder"),
    "Llama": (
        some("lm_head.weight", "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"),
        "is a language model",
    ),
    "T5": (
        some("shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"),
        "is a language model or text encoder",
    ),
    "OpenCLIP": (
        some("positional_embedding", "transformer.resblocks.0.mlp.c_fc.weight"),
        "is a language model or text encoder",
    ),
    "CLIP for pictures": (some("vision_model.encoder.layers.0.mlp.fc1.weight"), "image encoder"),
    "a LoRA of kohya": (_lora(True), "is a LoRA, not a model .*under LoRAs"),
    "a LoRA of peft": (_lora(False), "is a LoRA, not a model .*under LoRAs"),
    "a LoHa": (some("lora_unet_x.hada_w1_a", "lora_unet_x.hada_w1_b"), "is a LoRA"),
    "a LoKr": (some("lora_unet_x.lokr_w1", "lora_unet_x.lokr_w2"), "is a LoRA"),
    "an embedding of the web UI": (some("emb_params"), "is an embedding.*under Embeddings"),
    "an embedding of diffusers": (some("<mascot>"), "is an embedding"),
    "an embedding of SDXL": (some("clip_l", "clip_g"), "is an embedding"),
    "a ControlNet": (
        _controlnet,
        "is a ControlNet",
    ),
    "a ControlNet as published": (
        some("control_model.time_embed.0.weight", "control_model.input_hint_block.0.weight"),
        "is a ControlNet",
    ),
    "a T2I-Adapter": (some("adapter.body.0.block1.weight", "adapter.conv_in.weight"), "a T2I-Ad"),
    "an IP-Adapter": (some("image_proj.norm.weight", "ip_adapter.1.to_k_ip.weight"), "an IP-Ad"),
    "AnimateDiff": (some("down_blocks.0.motion_modules.0.temporal_transformer.x"), "for videos"),
    "ESRGAN": (some("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"), "is an upscaler"),
    "Real-ESRGAN": (some("conv_first.weight", "body.0.rdb1.conv1.weight"), "is an upscaler"),
    "SwinIR": (some("params.conv_first.weight", "params.conv_last.bias"), "is an upscaler"),
}


@pytest.mark.parametrize("config", [False, True], ids=["alone", "with a layout"])
@pytest.mark.parametrize("case", FOREIGN)
async def test_what_is_no_model_is_refused_by_what_it_is(
    local: Local, here: Path, tmp_path: Path, case: str, config: bool
) -> None:
    made, words = FOREIGN[case]
    save_file(made if isinstance(made, dict) else made(here), tmp_path / "one.safetensors")
    layout = str(here / "diffusion") if config else ""
    error = await refused(local, tmp_path / "one.safetensors", layout, words)
    assert isinstance(error, BadInput)


async def test_a_file_that_was_exchanged_is_judged_anew(
    local: Local, here: Path, tmp_path: Path
) -> None:
    file = tmp_path / "one.safetensors"
    shutil.copy(here / "diffusion.safetensors", file)
    assert local.ready(tiny.model(file)).state is Readiness.READY
    save_file(some("a.lora_A.weight", "a.lora_B.weight"), file)
    await refused(local, file, str(here / "diffusion"), "is a LoRA")
    shutil.copy(here / "diffusion.safetensors", file)
    assert local.ready(tiny.model(file)).state is Readiness.READY


@pytest.mark.parametrize("family", FAMILIES)
async def test_nothing_unknown_is_drawn_by_the_layouts_denoiser(
    local: Local, here: Path, tmp_path: Path, family: str
) -> None:
    save_file(some("some.weight", "other.weight", "third.weight"), tmp_path / "one.safetensors")
    asked = replace(ASK, options={"local": {"config": str(here / family)}})
    with pytest.raises(BadInput, match=r"holds no unet, the part that draws|are not those of"):
        await events_of(local, tiny.model(tmp_path / "one.safetensors"), asked)


async def test_a_denoiser_alone_draws_with_the_rest_of_its_layout(
    local: Local, here: Path, tmp_path: Path
) -> None:
    other = tiny.diffusion(tmp_path / "other", seed=9, latents=4)
    mixed = Path(shutil.copytree(here / "diffusion", tmp_path / "mixed"))
    shutil.copy(other / "unet" / tiny.WEIGHTS, mixed / "unet")
    shutil.copy(other / "unet" / tiny.WEIGHTS, tmp_path / "denoiser.safetensors")
    asked = replace(ASK, options={"local": {"config": str(here / "diffusion")}})
    file = await drawn(local, tiny.model(tmp_path / "denoiser.safetensors"), asked)
    folder = await drawn(local, tiny.model(mixed), ASK)
    assert (file == folder).all()


INTO = f"{UNET}input_blocks.0.0.weight"
PICTURES: dict[str, tuple[Tensors, str]] = {
    "inpainting": ({INTO: torch.ones(32, 9, 3, 3)}, "a picture and a mask.*inpainting"),
    "Pix2Pix": ({INTO: torch.ones(32, 8, 3, 3)}, "a picture to edit.*InstructPix2Pix"),
    "depth": ({INTO: torch.ones(32, 5, 3, 3)}, "a picture whose depth it keeps"),
    "upscale": ({INTO: torch.ones(32, 7, 3, 3)}, "a picture to enlarge"),
    "another": ({INTO: torch.ones(32, 12, 3, 3)}, "a picture besides the prompt"),
    "refiner": ({f"{UNET}label_emb.0.0.weight": torch.ones(8, 2560)}, "a start picture.*refiner"),
    "FLUX Fill": (
        {"img_in.weight": torch.ones(8, 384), "final_layer.linear.weight": torch.ones(64, 8)},
        "a picture and a mask.*Fill",
    ),
    "FLUX depth": (
        {
            f"{UNET}img_in.weight": torch.ones(8, 128),
            f"{UNET}final_layer.linear.weight": torch.ones(64, 8),
            f"{UNET}double_blocks.0.x": torch.ones(4),
        },
        "a picture besides the prompt",
    ),
}


@pytest.mark.parametrize("case", PICTURES)
async def test_a_file_that_needs_a_picture_says_so(
    local: Local, here: Path, tmp_path: Path, case: str
) -> None:
    more, words = PICTURES[case]
    whole = {} if "FLUX" in case else file_of(here, "sdxl")
    save_file(whole | more, tmp_path / "one.safetensors")
    await refused(local, tmp_path / "one.safetensors", str(here / "sdxl"), f"Tiny needs {words}")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("StableDiffusionInpaintPipeline", "a picture and a mask"),
        ("StableDiffusionXLInpaintPipeline", "a picture and a mask"),
        ("FluxFillPipeline", "a picture and a mask"),
        ("StableDiffusionInstructPix2PixPipeline", "a picture to edit"),
        ("StableDiffusionXLInstructPix2PixPipeline", "a picture to edit"),
        ("QwenImageEditPipeline", "a picture to edit"),
        ("StableDiffusionDepth2ImgPipeline", "a picture whose depth"),
        ("StableDiffusionUpscalePipeline", "a picture to enlarge"),
        ("StableDiffusionLatentUpscalePipeline", "a picture to enlarge"),
        ("IFSuperResolutionPipeline", "a picture to enlarge"),
        ("FluxControlPipeline", "a control picture"),
        ("StableDiffusionControlNetPipeline", "a control picture"),
        ("StableUnCLIPImg2ImgPipeline", "a picture to vary"),
    ],
)
async def test_a_folder_that_needs_a_picture_says_so(
    local: Local, here: Path, tmp_path: Path, kind: str, words: str
) -> None:
    folder = Path(shutil.copytree(here / "diffusion", tmp_path / "other"))
    _name(folder, kind)
    await refused(local, folder, "", rf"Tiny needs {words}.*\(it is a {kind}\)")


@pytest.mark.parametrize("kind", ["KandinskyInpaintPipeline", "PIAPipeline", "ConsisIDPipeline"])
async def test_what_a_class_cannot_do_without_is_told_by_its_call(
    local: Local, here: Path, tmp_path: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(here / "diffusion", tmp_path / "other"))
    _name(folder, kind)
    with pytest.raises(NotReady, match="needs a picture"):
        await drawn(local, tiny.model(folder), ASK)


def _name(folder: Path, kind: str) -> None:
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": kind}))


async def test_a_folder_is_told_by_its_channels_too(
    local: Local, here: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(here / "diffusion", tmp_path / "other"))
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "in_channels": 9}))
    await refused(local, folder, "", "Tiny needs a picture and a mask")


async def test_a_refiner_asks_for_a_start_picture_and_draws_with_one(
    local: Local, here: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(here / "sdxl", tmp_path / "refiner"))
    _name(folder, "StableDiffusionXLImg2ImgPipeline")
    events = local.generate(tiny.model(folder), ASK)
    with pytest.raises(BadInput, match=r"draws from a start picture.* Give it a start picture"):
        assert not [event async for event in events]
    file = here / "sdxl.safetensors"
    layout = replace(ASK, options={"local": {"config": str(folder)}})
    with pytest.raises(BadInput, match="draws from a start picture"):
        await events_of(local, tiny.model(file), layout)
    started = replace(ASK, image=plain(64, 64), strength=0.9)
    assert await events_of(local, tiny.model(folder), started)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net", "is a model of the type 'ControlNetModel', which is not a text-to-image"),
        ("diffusion/vae", "is a model of the type 'AutoencoderKL'"),
        ("diffusion/text_encoder", "is a model of the type 'clip_text_model'"),
    ],
)
async def test_a_folder_that_is_no_pipeline_says_what_it_is(
    local: Local, here: Path, name: str, words: str
) -> None:
    if name == "net":
        tiny.controlnet(here / "net", here / "diffusion")
    await refused(local, here / name, "", words)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("StableDiffusionInpaintPipeline", "layout is of a .*, which needs a picture and a mask"),
        ("SomethingNewPipeline", "layout is of a .*, which this version of diffusers does not"),
    ],
)
async def test_a_layout_that_draws_no_picture_from_a_prompt_says_so(
    local: Local, here: Path, tmp_path: Path, kind: str, words: str
) -> None:
    folder = Path(shutil.copytree(here / "diffusion", tmp_path / "layout"))
    _name(folder, kind)
    asked = replace(ASK, options={"local": {"config": str(folder)}})
    with pytest.raises(BadInput, match=words):
        await events_of(local, tiny.model(here / "diffusion.safetensors"), asked)


async def test_the_edm_kind_needs_a_layout_of_its_kind(
    local: Local, here: Path, tmp_path: Path
) -> None:
    save_file(
        file_of(here, "sdxl") | {"edm_vpred.sigma_max": torch.tensor(120.0)},
        tmp_path / "cos.safetensors",
    )
    asked = replace(ASK, options={"local": {"config": str(here / "sdxl")}})
    with pytest.raises(BadInput, match="is of the EDM kind"):
        await events_of(local, tiny.model(tmp_path / "cos.safetensors"), asked)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one.gguf", "is GGUF, whose packed weights are not read here"),
        ("one.onnx", "is ONNX, which is not read here"),
        ("one.sft", r"Rename it to end in \.safetensors"),
        ("one.ckpt", "a pickle file, which can run code"),
    ],
)
async def test_other_formats_are_refused_by_name(
    local: Local, tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / name).write_bytes(b"GGUF")
    await refused(local, tmp_path / name, "", words)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ("diffusion/vae", "is AutoencoderKL, not a ControlNet"),
        (f"diffusion/vae/{tiny.WEIGHTS}", "is a VAE .*, not a ControlNet"),
        ("diffusion/text_encoder/model.safetensors", "text encoder, not a ControlNet"),
    ],
)
async def test_what_is_no_controlnet_says_what_it_is(
    local: Local, here: Path, net: str, words: str
) -> None:
    steered = tiny.model(here / "diffusion", controls={"none": str(here / net)})
    control = Control(image=plain(64, 64), preprocessor="none")
    with pytest.raises(BadInput, match=words):
        await events_of(local, steered, replace(ASK, controls=(control,)))
