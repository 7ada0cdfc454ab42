"""The pixel-cascade miniature: ordinary `IFPipeline` and `IFSuperResolutionPipeline` folders.

No autoencoder: one U-Net generates 32x32 pixels, a second one upscales them to 128x128, both
conditioned on a T5 (Imagen, arXiv 2205.11487; in the form of its open relative, DeepFloyd IF). The
input of the second is the small picture with some noise, and the noise level, so that it tolerates
the first one's faults (cascaded diffusion, 2106.15282). v-prediction (2202.00512) with a schedule
that ends in pure noise (2305.08891), as in the latent miniature. IF's U-Nets also predict a
variance; here the schedulers have a fixed one, and the three channels for it stay empty.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    IFPipeline,
    IFSuperResolutionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import T5EncoderModel, T5Tokenizer

from backends.miniatures import world
from backends.miniatures.defaults import SETTINGS
from backends.miniatures.training.finetuning import continual, reward
from backends.miniatures.training.finetuning.curriculum import Curriculum, TrainingContext
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export
from backends.miniatures.training.loop.precision import cast_at_boundary, fastest_dtype
from backends.miniatures.training.loop.trainer import Stage, Trainer, delete_checkpoints, run_stage
from backends.miniatures.training.text import t5
from backends.paths import MINIATURES

STEPS: Final = 7200
SUPER_STEPS: Final = 4600
BATCH: Final = 24
SIDE: Final = 32
"""Side in pixels of the first stage's picture."""
EMPHASIS: Final = 10.0
"""Weight of a pixel near a thing relative to the background, in whole pictures."""
CROP: Final = 64
"""Side in pixels of the second stage's crops."""
FULL_SIZE_SHARE: Final = 0.2
MAX_NOISE_LEVEL: Final = 350
"""The second stage trains with up to this noise level on the small picture; sampling uses 250,
the pipeline's own default."""
FOLDER: Final = MINIATURES / "cascade"
SUPER_FOLDER: Final = MINIATURES / "cascade_super"


def build() -> UNet2DConditionModel:
    """Return the untrained first U-Net: attention at 8x8 and 4x4, only convolutions above.

    A pooled text embedding is added to the time embedding, as in IF.
    """
    conditioning: dict[str, Any] = {
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": 4,
    }
    return _unet(SIDE, 3, (16, 32, 64, 96), attention=2, **conditioning)


def build_super() -> UNet2DConditionModel:
    """Return the untrained second U-Net: attention at 16x16, conditioned on the small picture's
    noise level.
    """
    return _unet(world.SIDE, 6, (16, 32, 48, 64), attention=1, class_embed_type="timestep")


def _unet(
    side: int, channels: int, widths: tuple[int, ...], attention: int, **more: Any
) -> UNet2DConditionModel:
    """Return a U-Net with attention in its last levels."""
    plain = len(widths) - attention
    return cast(Any, UNet2DConditionModel)(
        sample_size=side,
        in_channels=channels,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=widths,
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * attention,
        up_block_types=("CrossAttnUpBlock2D",) * attention + ("UpBlock2D",) * plain,
        cross_attention_dim=t5.WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        **more,
    )


def scheduler() -> DPMSolverMultistepScheduler:
    """Return DPM-Solver++ (arXiv 2211.01095) with a terminal signal-to-noise ratio of zero."""
    return DPMSolverMultistepScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def noising_scheduler() -> DDPMScheduler:
    """Return the noise schedule for the small picture: mild, to 0.3 at level 250."""
    return DDPMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=2.5e-3)


class PixelDenoiser(nn.Module):
    """The U-Net of a stage and the frozen text encoder. Attribute names are keys of checkpoints."""

    def __init__(self, unet: UNet2DConditionModel, encoder: T5EncoderModel) -> None:
        super().__init__()
        self.unet, self.encoder = unet, encoder.requires_grad_(False)

    def forward(
        self,
        inputs: torch.Tensor,
        times: torch.Tensor,
        conditioning: tuple[torch.Tensor, ...],
        **more: Any,
    ) -> torch.Tensor:
        """Return the predicted v (n, 3, h, w) in fp32; `conditioning` holds a prompt's ids and
        mask.
        """
        with torch.no_grad():
            states = self.encoder(
                input_ids=conditioning[0], attention_mask=conditioning[1]
            ).last_hidden_state
        return self.unet(inputs.to(self.unet.dtype), times, states, **more).sample[:, :3].float()


def train() -> None:
    """Train the text encoder and both stages, each resumed from its checkpoint; exports
    periodically.
    """
    tokenizer, encoder = t5.pretrain("cascade-text")
    context = TrainingContext(tokenizer, Stage("cascade-super", SUPER_STEPS, 1e-3))
    train_super(PixelDenoiser(build_super(), encoder), context)
    train_base(
        PixelDenoiser(build(), encoder), TrainingContext(tokenizer, Stage("cascade", STEPS, 1e-3))
    )


def refine(steps: int) -> None:
    """Continue from the committed weights: the first stage for `steps` steps, the second for a
    quarter.
    """
    base = cast(Any, IFPipeline).from_pretrained(str(FOLDER))
    upper = cast(Any, IFSuperResolutionPipeline).from_pretrained(str(SUPER_FOLDER))
    stages = Stage("cascade-refined", steps, 5e-4), Stage("cascade-super-refined", steps // 4, 5e-4)
    train_super(
        PixelDenoiser(upper.unet, base.text_encoder), TrainingContext(base.tokenizer, stages[1])
    )
    train_base(
        PixelDenoiser(base.unet, base.text_encoder), TrainingContext(base.tokenizer, stages[0])
    )
    delete_checkpoints(*(stage.name for stage in stages))


def extend(steps: int, new: str = world.NEWEST_KIND) -> None:
    """Extend the committed weights by the new kind of scenes.

    The first stage trains for `steps` steps. The second, whose input shows the content, continues
    for a quarter of them without a reference, with the extended text encoder.
    """
    base = cast(Any, IFPipeline).from_pretrained(str(FOLDER))
    upper = cast(Any, IFSuperResolutionPipeline).from_pretrained(str(SUPER_FOLDER))
    saved_encoder, tokenizer = base.text_encoder, base.tokenizer
    stages = Stage("cascade-widened", steps, 4e-4), Stage("cascade-super-widened", steps // 4, 4e-4)
    curriculum = continual.start_curriculum(PixelDenoiser(base.unet, saved_encoder), stages[0], new)
    encoder = continual.extend_text_encoder(
        saved_encoder, t5.t5_encoding(tokenizer), continual.text_stage(stages[0]), new=new
    )
    train_base(PixelDenoiser(base.unet, encoder), TrainingContext(tokenizer, stages[0], curriculum))
    unet_input = Curriculum(new=new, balanced=True)
    train_super(
        PixelDenoiser(upper.unet, encoder), TrainingContext(tokenizer, stages[1], unet_input)
    )
    delete_checkpoints(stages[1].name)
    continual.clean_up(stages[0])


def finetune_on_reward(steps: int) -> None:
    """Fine-tune the committed first stage on its own pictures, judged by rule."""
    base = cast(Any, IFPipeline).from_pretrained(str(FOLDER))
    upper = cast(Any, IFSuperResolutionPipeline).from_pretrained(str(SUPER_FOLDER))
    cast_at_boundary(upper.unet.to(fastest_dtype()))
    stage = Stage("cascade-practice", steps, 5e-5)
    trainer = reward.build_trainer(PixelDenoiser(base.unet, base.text_encoder), stage.rate)
    cast(PixelDenoiser, trainer.fast).unet.set_attn_processor(AttnProcessor())
    encode_prompts = t5.PromptEncoder(base.tokenizer)

    def velocity(
        model: nn.Module, noisy: torch.Tensor, times: torch.Tensor, sentences: list[str]
    ) -> torch.Tensor:
        return model(noisy, times, encode_prompts(sentences))

    def make_sampler(reference: nn.Module) -> reward.Sampler:
        parts = {**base.components, "unet": cast_at_boundary(cast(PixelDenoiser, reference).unet)}
        drawing = cast(Any, IFPipeline)(**parts, requires_safety_checker=False)
        return _sampler_of(drawing, upper)

    objective = reward.VelocityObjective(velocity, scheduler().alphas_cumprod, late=0.5)
    average = cast(PixelDenoiser, trainer.average)

    def save() -> None:
        export(_pipeline(average, base.tokenizer, FOLDER), FOLDER)

    reward.finetune(reward.RewardTask(make_sampler, objective.loss), trainer, stage, save)


SUPER_SAMPLING_STEPS: Final = 4
"""Steps of the second stage in reward fine-tuning: the content is decided before it."""


def _sampler_of(base: Any, upper: Any) -> reward.Sampler:
    """Return a sampler: both pipelines, without guidance; its codes are the first one's
    pictures.
    """
    for pipe in (base, upper):
        pipe.set_progress_bar_config(disable=True)

    def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
        wanted, unwanted = base.encode_prompt(sentences, do_classifier_free_guidance=True)
        conditioning = {
            "prompt_embeds": wanted,
            "negative_prompt_embeds": unwanted,
            "guidance_scale": 1.0,
        }
        steps = SETTINGS["cascade"].steps
        small = base(num_inference_steps=steps, output_type="pt", **conditioning).images
        return small.half(), upper(
            image=small, num_inference_steps=SUPER_SAMPLING_STEPS, **conditioning
        ).images

    return draw


def train_base(denoiser: PixelDenoiser, context: TrainingContext) -> None:
    """Train noise and a prompt to 32x32 pixels."""
    alphas_cumprod = scheduler().alphas_cumprod

    def case(scenes: list[world.Scene], _: int) -> tuple[torch.Tensor, dict[str, Any]]:
        return downscale(render_scenes(scenes)), {}

    _train(denoiser, context, FOLDER, _StageTask(case, alphas_cumprod, BATCH, SIDE))


def train_super(denoiser: PixelDenoiser, context: TrainingContext) -> None:
    """Train noise, a prompt and a noisy small picture to 128x128 pixels, mostly on crops."""
    alphas_cumprod, rng, noises = scheduler().alphas_cumprod, random.Random(), noising_scheduler()

    def case(scenes: list[world.Scene], step: int) -> tuple[torch.Tensor, dict[str, Any]]:
        pictures = render_scenes(scenes)
        small = F.interpolate(downscale(pictures), pictures.shape[2:], **UPSCALING)
        levels = torch.randint(MAX_NOISE_LEVEL, (len(pictures),))
        small = noises.add_noise(small, torch.randn_like(small), cast(Any, levels))
        if step < (1 - FULL_SIZE_SHARE) * context.stage.steps:
            corners = [_random_crop_corner(scene, rng) for scene in scenes]
            pictures, small = (_crop(batch, corners) for batch in (pictures, small))
        return pictures, {"beside": small, "class_labels": levels}

    _train(
        denoiser, context, SUPER_FOLDER, _StageTask(case, alphas_cumprod, BATCH // 2, world.SIDE)
    )


UPSCALING: Final[dict[str, Any]] = {"mode": "bilinear", "align_corners": True}
"""Interpolation of the super-resolution pipeline."""


def render_scenes(scenes: list[world.Scene]) -> torch.Tensor:
    """Return the scenes' pictures (n, 3, SIDE, SIDE), from -1 to 1."""
    return dataset.to_tensor([cast(Any, world.draw(scene)) for scene in scenes])


def downscale(pictures: torch.Tensor) -> torch.Tensor:
    """Return the first stage's pictures: each pixel the mean of 4x4."""
    return F.avg_pool2d(pictures, world.SIDE // SIDE)


def _random_crop_corner(scene: world.Scene, rng: random.Random) -> tuple[int, int]:
    """Return the corner (x, y) of a crop on a random thing, in pixels."""
    thing = rng.choice(scene.things)
    x, y = (
        min(max(int(at - CROP / 2 + rng.uniform(-24, 24)), 0), world.SIDE - CROP)
        for at in (thing.x, thing.y)
    )
    return x, y


def _crop(batch: torch.Tensor, corners: list[tuple[int, int]]) -> torch.Tensor:
    """Cut a square of CROP pixels from each picture."""
    return torch.stack(
        [one[:, y : y + CROP, x : x + CROP] for one, (x, y) in zip(batch, corners, strict=True)]
    )


@dataclass(frozen=True, slots=True)
class _StageTask:
    """The inputs of a stage: `make_inputs` returns clean pictures and further inputs of the
    U-Net.
    """

    make_inputs: Callable[[list[world.Scene], int], tuple[torch.Tensor, dict[str, Any]]]
    alphas_cumprod: torch.Tensor
    batch: int
    side: int


def _train(
    denoiser: PixelDenoiser, context: TrainingContext, folder: Path, task: _StageTask
) -> None:
    """Train one stage's U-Net; exports to `folder` periodically."""
    trainer = Trainer(denoiser, rate=context.stage.rate, matrices="unet.")
    fast = cast(PixelDenoiser, trainer.fast)
    # Written-out attention: on processors the fused kernel's backward pass is far slower.
    fast.unet.set_attn_processor(AttnProcessor())
    encode_prompts = t5.PromptEncoder(context.tokenizer)

    def loss(step: int) -> torch.Tensor:
        scenes = context.curriculum.scenes(task.batch)
        clean, inputs = task.make_inputs(scenes, step)
        conditioning = encode_prompts(
            [dataset.sample_caption(scene, context.curriculum.rng) for scene in scenes]
        )
        times = torch.randint(len(task.alphas_cumprod), (len(clean),))
        signal_scale = task.alphas_cumprod[times].sqrt()[:, None, None, None]
        noise_scale = (1 - task.alphas_cumprod[times]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        noisy = signal_scale * clean + noise_scale * noise
        beside = inputs.pop("beside", None)
        unet_input = noisy if beside is None else torch.cat([noisy, beside], 1)

        def predict(model: PixelDenoiser, rows: torch.Tensor) -> torch.Tensor:
            more = {name: value[rows] for name, value in inputs.items()}
            return model(
                unet_input[rows], times[rows], tuple(part[rows] for part in conditioning), **more
            )

        wanted = context.curriculum.mixed_target(
            signal_scale * noise - noise_scale * clean, scenes, predict
        )
        error = (fast(unet_input, times, conditioning, **inputs) - wanted).square()
        if clean.shape[-1] == task.side:  # no crops, which are on things anyway
            error = error * dataset.loss_weights(scenes, task.side, EMPHASIS)
        return error.mean()

    average = cast(PixelDenoiser, trainer.average)

    def export_average() -> None:
        export(_pipeline(average, context.tokenizer, folder), folder)

    run_stage(context.stage.name, trainer, context.stage.steps, loss, on_checkpoint=export_average)


def _pipeline(denoiser: PixelDenoiser, tokenizer: T5Tokenizer, folder: Path) -> Any:
    """Return a stage as a pipeline of diffusers; the second takes the first's prompt embeddings."""
    rest: dict[str, Any] = {
        "safety_checker": None,
        "feature_extractor": None,
        "watermarker": None,
        "requires_safety_checker": False,
    }
    if folder == FOLDER:
        return IFPipeline(
            tokenizer, denoiser.encoder, denoiser.unet, cast(Any, scheduler()), **rest
        )
    return IFSuperResolutionPipeline(
        cast(Any, None),
        cast(Any, None),
        denoiser.unet,
        cast(Any, scheduler()),
        noising_scheduler(),
        **rest,
    )
