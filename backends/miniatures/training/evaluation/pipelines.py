"""The exported miniatures as functions from prompts to pictures, each through its ordinary classes.

What a library user would write, and nothing of Lineup's own drawing: scores and the notebook rest
on it.
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

Drawer: TypeAlias = Callable[[list[str], list[Image.Image]], list[Image.Image]]
"""From prompts and control pictures (one each, or none at all) to pictures."""


def drawer(name: str) -> tuple[Drawer, list[torch.nn.Module]]:
    """The miniature `name` at its default settings, and the models that it is made of."""
    if name == "autoregressive":
        return _tokens_in_a_row()
    if name == "cascade":
        return _cascade()
    pipe = control_pipeline() if name == "canny" else _pipeline(name)
    setting = SETTINGS[name]
    rng = torch.Generator().manual_seed(SEED)

    def draw(prompts: list[str], control: list[Image.Image]) -> list[Image.Image]:
        extra: dict[str, Any] = {"image": control} if control else {}
        if name == "discrete":
            extra["truncation_rate"] = setting.truncation_rate
        return pipe(
            prompts,
            num_inference_steps=setting.steps,
            guidance_scale=setting.guidance,
            generator=rng,
            **extra,
        ).images

    models = [pipe.controlnet] if name == "canny" else modules(pipe)
    return draw, models


def control_pipeline() -> Any:
    """The diffusion miniature with its Canny ControlNet."""
    base = _pipeline("diffusion")
    control = ControlNetModel.from_pretrained(str(MINIATURES / "canny"))
    pipe = StableDiffusionControlNetPipeline(
        **base.components, controlnet=control, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def modules(pipe: Any) -> list[torch.nn.Module]:
    """The models of a pipeline."""
    return [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]


def _pipeline(name: str) -> Any:
    folder = MINIATURES / name
    known = cast(Any, DiffusionPipeline).from_pretrained
    pipe: Any = discrete.read(folder) if name == "discrete" else known(str(folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _cascade() -> tuple[Drawer, list[torch.nn.Module]]:
    """Both stages, the prompt read once; the second takes half as many steps, as IF's defaults."""
    base, upper = _pipeline("cascade"), _pipeline("cascade_super")
    setting = SETTINGS["cascade"]
    rng = torch.Generator().manual_seed(SEED)

    def draw(prompts: list[str], _: list[Image.Image]) -> list[Image.Image]:
        wanted, unwanted = base.encode_prompt(prompts, do_classifier_free_guidance=True)
        told = {"prompt_embeds": wanted, "negative_prompt_embeds": unwanted, "generator": rng}
        small = base(
            num_inference_steps=setting.steps,
            guidance_scale=setting.guidance,
            output_type="pt",
            **told,
        ).images
        return upper(
            image=small,
            num_inference_steps=-(-setting.steps // 2),
            guidance_scale=setting.stage_guidance_scale,
            **told,
        ).images

    return draw, modules(base) + modules(upper)


def _tokens_in_a_row() -> tuple[Drawer, list[torch.nn.Module]]:
    folder, setting = str(MINIATURES / "autoregressive"), SETTINGS["autoregressive"]
    model = cast(Any, JanusForConditionalGeneration.from_pretrained(folder)).eval()
    reader = cast(Any, JanusProcessor.from_pretrained(folder))
    torch.manual_seed(SEED)  # transformers throws the one rng that everybody shares

    def draw(prompts: list[str], _: list[Image.Image]) -> list[Image.Image]:
        told = reader(text=prompts, generation_mode="image", padding=True, return_tensors="pt")
        drawn = model.generate(
            **told, generation_mode="image", do_sample=True, guidance_scale=setting.guidance
        )
        pixels = (model.decode_image_tokens(drawn).clamp(-1, 1) + 1) * 127.5
        return [Image.fromarray(each) for each in pixels.round().to(torch.uint8).numpy()]

    return draw, [model]
