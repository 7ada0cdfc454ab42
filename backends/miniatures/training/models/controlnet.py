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
from backends.miniatures.training.loop.trainer import Stage, Trainee, forget, run_stage
from backends.miniatures.training.models.diffusion import FOLDER as PAINTER
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


def build(painter: StableDiffusionPipeline) -> ControlNetModel:
    """A ControlNet that starts as a copy of the U-Net's encoder and changes nothing yet."""
    return ControlNetModel.from_unet(
        painter.unet, conditioning_embedding_out_channels=(16, 32, 48, 64)
    )


def train() -> None:
    """Train (or resume) the ControlNet for the exported diffusion miniature."""
    painter = StableDiffusionPipeline.from_pretrained(str(PAINTER))
    _train(painter, build(painter), Stage("canny", STEPS, rate=1e-3))


def refine(steps: int) -> None:
    """Go on from the committed weights for `steps` more steps, for the U-Net as it is now."""
    painter = StableDiffusionPipeline.from_pretrained(str(PAINTER))
    control = ControlNetModel.from_pretrained(str(FOLDER))
    _train(painter, control, Stage("canny-refined", steps, rate=7e-4))
    forget("canny-refined")


def _train(painter: StableDiffusionPipeline, control: ControlNetModel, stage: Stage) -> None:
    trainee = Trainee(control, rate=stage.rate)
    fast = cast(ControlNetModel, trainee.fast)
    plain_attention(fast)
    loose = dataset.loose_scenes(LOOSE)
    scenes = dataset.scenes() + loose
    codes = torch.cat([latents(painter.vae), latents(painter.vae, "loose-latents", loose)])
    tokens = clip.Tokens(cast(CLIPTokenizer, painter.tokenizer))
    encoder = painter.text_encoder.to(fast_type()).requires_grad_(False)
    unet = painter.unet.to(fast_type()).requires_grad_(False)
    plain_attention(unet)
    kept = scheduler().alphas_cumprod
    dice = random.Random()

    def sentence(scene: world.Scene) -> str:
        if dice.random() < dataset.DROPPED:
            return ""
        return captions.write(scene, dice, vague=VAGUE)

    def loss(_: int) -> torch.Tensor:
        chosen = dice.choices(range(len(codes)), k=BATCH)
        clean = codes[chosen].float()
        edges = to_tensor([as_brought(scenes[index], dice) for index in chosen]) / 2 + 0.5
        times = late_times(BATCH, len(kept))
        signal = kept[times].sqrt()[:, None, None, None]
        grain = (1 - kept[times]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        noisy = (signal * clean + grain * noise).to(fast_type())
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
        error = (drawn.float() - (signal * noise - grain * clean)).square()
        return (error * dataset.importance([scenes[index] for index in chosen])).mean()

    def look() -> None:
        export(trainee.average, FOLDER)

    run_stage(stage.name, trainee, stage.steps, loss, look=look)
