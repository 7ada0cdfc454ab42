"""The exported miniatures as functions from prompts to pictures, through their ordinary classes.

This is what a user of the libraries would write, without Lineup's own local backend; scores and the
notebook use it.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import torch
from diffusers import ControlNetModel, DiffusionPipeline, StableDiffusionControlNetPipeline
from PIL import Image
from transformers import JanusForConditionalGeneration, JanusProcessor

from backends.local.families import discrete
from backends.miniatures.defaults import SETTINGS
from backends.paths import MINIATURES

SEED: Final = 1

Generate: TypeAlias = Callable[[list[str], list[Image.Image]], list[Image.Image]]
"""Function from prompts and control pictures (one each, or none) to pictures."""


def load_generator(name: str) -> tuple[Generate, list[torch.nn.Module]]:
    """Load the miniature `name` with its default settings; also return its models."""
    if name == "autoregressive":
        return _load_autoregressive()
    if name == "cascade":
        return _load_cascade()
    pipe = load_control_pipeline() if name == "canny" else _load_pipeline(name)
    setting = SETTINGS[name]
    generator = torch.Generator().manual_seed(SEED)

    def draw(prompts: list[str], control: list[Image.Image]) -> list[Image.Image]:
        extra: dict[str, Any] = {"image": control} if control else {}
        if name == "discrete":
            extra["truncation_rate"] = setting.truncation_rate
        return pipe(
            prompts,
            num_inference_steps=setting.steps,
            guidance_scale=setting.guidance,
            generator=generator,
            **extra,
        ).images

    models = [pipe.controlnet] if name == "canny" else modules(pipe)
    return draw, models


def load_control_pipeline() -> Any:
    """Load the diffusion miniature with its Canny ControlNet."""
    base = _load_pipeline("diffusion")
    control = ControlNetModel.from_pretrained(str(MINIATURES / "canny"))
    pipe = StableDiffusionControlNetPipeline(
        **base.components, controlnet=control, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def modules(pipe: Any) -> list[torch.nn.Module]:
    """Return the models of a pipeline."""
    return [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]


def _load_pipeline(name: str) -> Any:
    """Load a pipeline of diffusers without its progress bar."""
    folder = MINIATURES / name
    from_pretrained = cast(Any, DiffusionPipeline).from_pretrained
    pipe: Any = discrete.read(folder) if name == "discrete" else from_pretrained(str(folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _load_cascade() -> tuple[Generate, list[torch.nn.Module]]:
    """Load both stages; the prompt is encoded once, the second takes half the steps, as IF by
    default.
    """
    base, upper = _load_pipeline("cascade"), _load_pipeline("cascade_super")
    setting = SETTINGS["cascade"]
    generator = torch.Generator().manual_seed(SEED)

    def draw(prompts: list[str], _: list[Image.Image]) -> list[Image.Image]:
        positive, negative = base.encode_prompt(prompts, do_classifier_free_guidance=True)
        inputs = {
            "prompt_embeds": positive,
            "negative_prompt_embeds": negative,
            "generator": generator,
        }
        small = base(
            num_inference_steps=setting.steps,
            guidance_scale=setting.guidance,
            output_type="pt",
            **inputs,
        ).images
        return upper(
            image=small,
            num_inference_steps=-(-setting.steps // 2),
            guidance_scale=setting.stage_guidance_scale,
            **inputs,
        ).images

    return draw, modules(base) + modules(upper)


def _load_autoregressive() -> tuple[Generate, list[torch.nn.Module]]:
    """Load the Janus model; it samples from torch's global generator, the only one transformers
    uses.
    """
    folder, setting = str(MINIATURES / "autoregressive"), SETTINGS["autoregressive"]
    model = cast(Any, JanusForConditionalGeneration.from_pretrained(folder)).eval()
    processor = cast(Any, JanusProcessor.from_pretrained(folder))
    torch.manual_seed(SEED)  # transformers throws the one generator that everybody shares

    def draw(prompts: list[str], _: list[Image.Image]) -> list[Image.Image]:
        inputs = processor(text=prompts, generation_mode="image", padding=True, return_tensors="pt")
        tokens = model.generate(
            **inputs, generation_mode="image", do_sample=True, guidance_scale=setting.guidance
        )
        pixels = (model.decode_image_tokens(tokens).clamp(-1, 1) + 1) * 127.5
        return [Image.fromarray(each) for each in pixels.round().to(torch.uint8).numpy()]

    return draw, [model]
