"""The diffusion miniature's Canny ControlNet (arXiv 2302.05543).

A copy of the U-Net's encoder reads an edge picture and adds to the frozen U-Net's skip states.
Edges come in the styles that users provide: Canny at this size, Canny at 512 pixels scaled down,
thick lines, shaky strokes; captions often omit the shape, so that the edges have to be read. Every
third picture lies off the world's grid and sizes, as hand-drawn ones do.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import random
from typing import Final, cast

import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from transformers import CLIPTokenizer

from backends.miniatures import world
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export
from backends.miniatures.training.loop.precision import fastest_dtype
from backends.miniatures.training.loop.trainer import Stage, Trainer, delete_checkpoints, run_stage
from backends.miniatures.training.models.diffusion import FOLDER as DIFFUSION_FOLDER
from backends.miniatures.training.models.diffusion import (
    encode_scenes,
    sample_times,
    scheduler,
    use_unfused_attention,
)
from backends.miniatures.training.text import clip
from backends.miniatures.world import captions
from backends.miniatures.world.edges import user_edges
from backends.paths import MINIATURES

STEPS: Final = 1500
BATCH: Final = 32
VAGUE: Final = 0.35
"""Probability that a caption omits a shape."""
OFF_GRID_COUNT: Final = dataset.SCENE_COUNT // 2
"""Number of further scenes off the grid."""
FOLDER: Final = MINIATURES / "canny"


def build(base: StableDiffusionPipeline) -> ControlNetModel:
    """Return a ControlNet that starts as a copy of the U-Net's encoder and has no effect yet."""
    return ControlNetModel.from_unet(
        base.unet, conditioning_embedding_out_channels=(16, 32, 48, 64)
    )


def train() -> None:
    """Train (or resume) the ControlNet for the exported diffusion miniature."""
    base = StableDiffusionPipeline.from_pretrained(str(DIFFUSION_FOLDER))
    _train(base, build(base), Stage("canny", STEPS, rate=1e-3))


def refine(steps: int) -> None:
    """Continue from the committed weights for `steps` more steps, for the current U-Net."""
    base = StableDiffusionPipeline.from_pretrained(str(DIFFUSION_FOLDER))
    control = ControlNetModel.from_pretrained(str(FOLDER))
    _train(base, control, Stage("canny-refined", steps, rate=7e-4))
    delete_checkpoints("canny-refined")


def _train(base: StableDiffusionPipeline, control: ControlNetModel, stage: Stage) -> None:
    """Train the ControlNet with U-Net and text encoder frozen; exports periodically."""
    trainer = Trainer(control, rate=stage.rate)
    fast = cast(ControlNetModel, trainer.fast)
    use_unfused_attention(fast)
    loose = dataset.off_grid_scenes(OFF_GRID_COUNT)
    scenes = dataset.training_scenes() + loose
    codes = torch.cat([encode_scenes(base.vae), encode_scenes(base.vae, "loose-latents", loose)])
    encode_prompts = clip.TokenEncoder(cast(CLIPTokenizer, base.tokenizer))
    encoder = base.text_encoder.to(fastest_dtype()).requires_grad_(False)
    unet = base.unet.to(fastest_dtype()).requires_grad_(False)
    use_unfused_attention(unet)
    alphas_cumprod = scheduler().alphas_cumprod
    rng = random.Random()

    def sentence(scene: world.Scene) -> str:
        if rng.random() < dataset.CAPTION_DROPOUT:
            return ""
        return captions.write(scene, rng, vague=VAGUE)

    def loss(_: int) -> torch.Tensor:
        chosen = rng.choices(range(len(codes)), k=BATCH)
        clean = codes[chosen].float()
        edges = dataset.to_tensor([user_edges(scenes[index], rng) for index in chosen]) / 2 + 0.5
        times = sample_times(BATCH, len(alphas_cumprod))
        signal_scale = alphas_cumprod[times].sqrt()[:, None, None, None]
        noise_scale = (1 - alphas_cumprod[times]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        noisy = (signal_scale * clean + noise_scale * noise).to(fastest_dtype())
        with torch.no_grad():
            states = encoder(encode_prompts([sentence(scenes[index]) for index in chosen]))
        text_states = states.last_hidden_state
        down, mid = fast(
            noisy, times, text_states, controlnet_cond=edges.to(fastest_dtype()), return_dict=False
        )
        predicted = unet(
            noisy,
            times,
            text_states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
        error = (predicted.float() - (signal_scale * noise - noise_scale * clean)).square()
        return (error * dataset.loss_weights([scenes[index] for index in chosen])).mean()

    def export_average() -> None:
        export(trainer.average, FOLDER)

    run_stage(stage.name, trainer, stage.steps, loss, on_checkpoint=export_average)
