"""The diffusion miniature's Canny ControlNet (arXiv 2302.05543).

A copy of the U-Net's encoder reads an edge picture and adds to the frozen U-Net's skip states.
Edges come as users bring them: Canny at this size, Canny at 512 pixels scaled down, thick lines,
shaky strokes; captions often leave the shape out, so that the edges have to be read. Every third
picture lies off the world's grid and in no size of its own, as what a person draws.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import random
from typing import Final, cast

import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from transformers import CLIPTokenizer

from backends.miniatures.training.codecs.autoencoder import to_tensor
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export
from backends.miniatures.training.loop.precision import fast_type
from backends.miniatures.training.loop.trainer import Stage, Trainer, forget, run_stage
from backends.miniatures.training.models.diffusion import FOLDER as DIFFUSION_FOLDER
from backends.miniatures.training.models.diffusion import (
    late_times,
    latents,
    plain_attention,
    scheduler,
)
from backends.miniatures.training.text import clip
from backends.miniatures.world import captions
from backends.miniatures.world import scene as world
from backends.miniatures.world.edges import as_brought
from backends.paths import MINIATURES

STEPS: Final = 1500
BATCH: Final = 32
VAGUE: Final = 0.35
LOOSE: Final = dataset.COUNT // 2
FOLDER: Final = MINIATURES / "canny"


def build(base: StableDiffusionPipeline) -> ControlNetModel:
    """A ControlNet that starts as a copy of the U-Net's encoder and changes nothing yet."""
    return ControlNetModel.from_unet(
        base.unet, conditioning_embedding_out_channels=(16, 32, 48, 64)
    )


def train() -> None:
    """Train (or resume) the ControlNet for the exported diffusion miniature."""
    base = StableDiffusionPipeline.from_pretrained(str(DIFFUSION_FOLDER))
    _train(base, build(base), Stage("canny", STEPS, rate=1e-3))


def refine(steps: int) -> None:
    """Go on from the committed weights for `steps` more steps, for the U-Net as it is now."""
    base = StableDiffusionPipeline.from_pretrained(str(DIFFUSION_FOLDER))
    control = ControlNetModel.from_pretrained(str(FOLDER))
    _train(base, control, Stage("canny-refined", steps, rate=7e-4))
    forget("canny-refined")


def _train(base: StableDiffusionPipeline, control: ControlNetModel, stage: Stage) -> None:
    trainer = Trainer(control, rate=stage.rate)
    fast = cast(ControlNetModel, trainer.fast)
    plain_attention(fast)
    loose = dataset.loose_scenes(LOOSE)
    scenes = dataset.scenes() + loose
    codes = torch.cat([latents(base.vae), latents(base.vae, "loose-latents", loose)])
    tokens = clip.Tokens(cast(CLIPTokenizer, base.tokenizer))
    encoder = base.text_encoder.to(fast_type()).requires_grad_(False)
    unet = base.unet.to(fast_type()).requires_grad_(False)
    plain_attention(unet)
    alphas_cumprod = scheduler().alphas_cumprod
    rng = random.Random()

    def sentence(scene: world.Scene) -> str:
        if rng.random() < dataset.DROPPED:
            return ""
        return captions.write(scene, rng, vague=VAGUE)

    def loss(_: int) -> torch.Tensor:
        chosen = rng.choices(range(len(codes)), k=BATCH)
        clean = codes[chosen].float()
        edges = to_tensor([as_brought(scenes[index], rng) for index in chosen]) / 2 + 0.5
        times = late_times(BATCH, len(alphas_cumprod))
        signal_scale = alphas_cumprod[times].sqrt()[:, None, None, None]
        noise_scale = (1 - alphas_cumprod[times]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        noisy = (signal_scale * clean + noise_scale * noise).to(fast_type())
        with torch.no_grad():
            states = encoder(tokens([sentence(scenes[index]) for index in chosen]))
        read = states.last_hidden_state
        down, mid = fast(
            noisy, times, read, controlnet_cond=edges.to(fast_type()), return_dict=False
        )
        drawn = unet(
            noisy,
            times,
            read,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
        error = (drawn.float() - (signal_scale * noise - noise_scale * clean)).square()
        return (error * dataset.importance([scenes[index] for index in chosen])).mean()

    def look() -> None:
        export(trainer.average, FOLDER)

    run_stage(stage.name, trainer, stage.steps, loss, look=look)
