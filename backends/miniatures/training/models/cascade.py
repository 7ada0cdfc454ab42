"""The pixel-cascade miniature: ordinary `IFPipeline` and `IFSuperResolutionPipeline` folders.

No autoencoder: one U-Net draws 32x32 pixels, a second one makes 128x128 of them, both led by a T5
(Imagen, arXiv 2205.11487; in the form of its open relative, DeepFloyd IF). The second is given the
small picture with some noise on it, and how much, so that it forgives the first one's faults
(cascaded diffusion, 2106.15282). v-prediction (2202.00512) with a schedule that ends in pure noise
(2305.08891), as in the latent miniature. IF's U-Nets also predict a variance; here the schedulers
have a fixed one, and the three channels for it stay empty.
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

from backends.miniatures.defaults import SETTINGS
from backends.miniatures.training.codecs.autoencoder import to_tensor
from backends.miniatures.training.finetuning import continual, reward
from backends.miniatures.training.finetuning.curriculum import Curriculum, TrainingContext
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export
from backends.miniatures.training.loop.precision import at_border, fast_type
from backends.miniatures.training.loop.trainer import Stage, Trainer, forget, run_stage
from backends.miniatures.training.text import t5
from backends.miniatures.world import scene as world
from backends.paths import MINIATURES

STEPS: Final = 7200
SUPER_STEPS: Final = 4600
BATCH: Final = 24
SIDE: Final = 32
"""Pixels on a side of the first stage's picture."""
EMPHASIS: Final = 10.0
"""How much more than the background a pixel near a thing counts, in whole pictures."""
CROP: Final = 64
WHOLE_SHARE: Final = 0.2
NOISE: Final = 350
"""The second stage learns with up to this noise level on the small picture; it is asked with 250,
the pipeline's own default."""
FOLDER: Final = MINIATURES / "cascade"
SUPER_FOLDER: Final = MINIATURES / "cascade_super"


def build() -> UNet2DConditionModel:
    """The untrained first U-Net: attention at 8x8 and 4x4, only convolutions above.

    All of it is told what the whole sentence says, beside the time, as IF's is.
    """
    told: dict[str, Any] = {"addition_embed_type": "text", "addition_embed_type_num_heads": 4}
    return _unet(SIDE, 3, (16, 32, 64, 96), attention=2, **told)


def build_super() -> UNet2DConditionModel:
    """The untrained second one: attention at 16x16; it is told the small picture's noise level."""
    return _unet(world.SIDE, 6, (16, 32, 48, 64), attention=1, class_embed_type="timestep")


def _unet(
    side: int, channels: int, widths: tuple[int, ...], attention: int, **more: Any
) -> UNet2DConditionModel:
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
    """DPM-Solver++ (arXiv 2211.01095), from a signal_scale-to-noise ratio of zero on."""
    return DPMSolverMultistepScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def noising() -> DDPMScheduler:
    """How the small picture is noised for the second stage: mildly, to 0.3 at level 250."""
    return DDPMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=2.5e-3)


class PixelDenoiser(nn.Module):
    """What trains of a stage: its U-Net; the text encoder stays as it is."""

    def __init__(self, unet: UNet2DConditionModel, encoder: T5EncoderModel) -> None:
        super().__init__()
        self.unet, self.encoder = unet, encoder.requires_grad_(False)

    def forward(
        self, given: torch.Tensor, times: torch.Tensor, told: tuple[torch.Tensor, ...], **more: Any
    ) -> torch.Tensor:
        """The predicted v (n, 3, h, w) in fp32; `told` are a prompt's numbers and mask."""
        with torch.no_grad():
            states = self.encoder(input_ids=told[0], attention_mask=told[1]).last_hidden_state
        return self.unet(given.to(self.unet.dtype), times, states, **more).sample[:, :3].float()


def train() -> None:
    """The text encoder and both stages, each resumed from its checkpoint; exports as it goes."""
    tokenizer, encoder = t5.pretrain("cascade-text")
    context = TrainingContext(tokenizer, Stage("cascade-super", SUPER_STEPS, 1e-3))
    train_super(PixelDenoiser(build_super(), encoder), context)
    train_base(
        PixelDenoiser(build(), encoder), TrainingContext(tokenizer, Stage("cascade", STEPS, 1e-3))
    )


def refine(steps: int) -> None:
    """Go on from the committed weights: the first stage for `steps` steps, the second for some."""
    base = cast(Any, IFPipeline).from_pretrained(str(FOLDER))
    upper = cast(Any, IFSuperResolutionPipeline).from_pretrained(str(SUPER_FOLDER))
    stages = Stage("cascade-refined", steps, 5e-4), Stage("cascade-super-refined", steps // 4, 5e-4)
    train_super(
        PixelDenoiser(upper.unet, base.text_encoder), TrainingContext(base.tokenizer, stages[1])
    )
    train_base(
        PixelDenoiser(base.unet, base.text_encoder), TrainingContext(base.tokenizer, stages[0])
    )
    forget(*(stage.name for stage in stages))


def widen(steps: int, new: str = world.NEW) -> None:
    """Go on from the committed weights, with what the world has got since.

    The first stage for `steps` steps. The second, which is shown what to draw, simply goes on for a
    quarter of them with the text encoder as it has become.
    """
    base = cast(Any, IFPipeline).from_pretrained(str(FOLDER))
    upper = cast(Any, IFSuperResolutionPipeline).from_pretrained(str(SUPER_FOLDER))
    known, tokenizer = base.text_encoder, base.tokenizer
    stages = Stage("cascade-widened", steps, 4e-4), Stage("cascade-super-widened", steps // 4, 4e-4)
    curriculum = continual.start_curriculum(PixelDenoiser(base.unet, known), stages[0], new)
    encoder = continual.asked(known, t5.read_by(tokenizer), continual.asking(stages[0]), new=new)
    train_base(PixelDenoiser(base.unet, encoder), TrainingContext(tokenizer, stages[0], curriculum))
    shown = Curriculum(new=new, balanced=True)
    train_super(PixelDenoiser(upper.unet, encoder), TrainingContext(tokenizer, stages[1], shown))
    forget(stages[1].name)
    continual.done(stages[0])


def practise(steps: int) -> None:
    """Go on from the committed weights: the first stage draws, is judged, and learns from it."""
    base = cast(Any, IFPipeline).from_pretrained(str(FOLDER))
    upper = cast(Any, IFSuperResolutionPipeline).from_pretrained(str(SUPER_FOLDER))
    at_border(upper.unet.to(fast_type()))
    stage = Stage("cascade-practice", steps, 5e-5)
    trainer = reward.build_trainer(PixelDenoiser(base.unet, base.text_encoder), stage.rate)
    cast(PixelDenoiser, trainer.fast).unet.set_attn_processor(AttnProcessor())
    words = t5.Sentences(base.tokenizer)

    def velocity(
        model: nn.Module, noisy: torch.Tensor, times: torch.Tensor, sentences: list[str]
    ) -> torch.Tensor:
        return model(noisy, times, words(sentences))

    def make_sampler(before: nn.Module) -> reward.Sampler:
        parts = {**base.components, "unet": at_border(cast(PixelDenoiser, before).unet)}
        drawing = cast(Any, IFPipeline)(**parts, requires_safety_checker=False)
        return _drawn_by(drawing, upper)

    objective = reward.VelocityObjective(velocity, scheduler().alphas_cumprod, late=0.5)
    average = cast(PixelDenoiser, trainer.average)

    def save() -> None:
        export(_pipeline(average, base.tokenizer, FOLDER), FOLDER)

    reward.practise(reward.RewardTask(make_sampler, objective.loss), trainer, stage, save)


HURRIED: Final = 4
"""Steps of the second stage while practising: what there is to see is there by then."""


def _drawn_by(base: Any, upper: Any) -> reward.Sampler:
    """Both pipelines, without guidance; beside the pictures it gives the first one's small ones."""
    for pipe in (base, upper):
        pipe.set_progress_bar_config(disable=True)

    def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
        wanted, unwanted = base.encode_prompt(sentences, do_classifier_free_guidance=True)
        told = {"prompt_embeds": wanted, "negative_prompt_embeds": unwanted, "guidance_scale": 1.0}
        steps = SETTINGS["cascade"].steps
        small = base(num_inference_steps=steps, output_type="pt", **told).images
        return small.half(), upper(image=small, num_inference_steps=HURRIED, **told).images

    return draw


def train_base(denoiser: PixelDenoiser, context: TrainingContext) -> None:
    """From noise and a prompt to 32x32 pixels."""
    alphas_cumprod = scheduler().alphas_cumprod

    def case(scenes: list[world.Scene], _: int) -> tuple[torch.Tensor, dict[str, Any]]:
        return shrunk(pictures_of(scenes)), {}

    _train(denoiser, context, FOLDER, _Task(case, alphas_cumprod, BATCH, SIDE))


def train_super(denoiser: PixelDenoiser, context: TrainingContext) -> None:
    """From noise, a prompt and a noisy small picture to 128x128 pixels, mostly by crops."""
    alphas_cumprod, rng, noises = scheduler().alphas_cumprod, random.Random(), noising()

    def case(scenes: list[world.Scene], step: int) -> tuple[torch.Tensor, dict[str, Any]]:
        whole = pictures_of(scenes)
        small = F.interpolate(shrunk(whole), whole.shape[2:], **UPSCALING)
        levels = torch.randint(NOISE, (len(whole),))
        small = noises.add_noise(small, torch.randn_like(small), cast(Any, levels))
        if step < (1 - WHOLE_SHARE) * context.stage.steps:
            corners = [_corner(scene, rng) for scene in scenes]
            whole, small = (_crop(batch, corners) for batch in (whole, small))
        return whole, {"beside": small, "class_labels": levels}

    _train(denoiser, context, SUPER_FOLDER, _Task(case, alphas_cumprod, BATCH // 2, world.SIDE))


UPSCALING: Final[dict[str, Any]] = {"mode": "bilinear", "align_corners": True}
"""As the super-resolution pipeline enlarges what it is given."""


def pictures_of(scenes: list[world.Scene]) -> torch.Tensor:
    """Their pictures (n, 3, SIDE, SIDE), from -1 to 1."""
    return to_tensor([cast(Any, world.draw(scene)) for scene in scenes])


def shrunk(pictures: torch.Tensor) -> torch.Tensor:
    """The first stage's pictures: each pixel the mean of 4x4."""
    return F.avg_pool2d(pictures, world.SIDE // SIDE)


def _corner(scene: world.Scene, rng: random.Random) -> tuple[int, int]:
    """The corner (x, y) of a crop on one of the things, in pixels."""
    thing = rng.choice(scene.things)
    x, y = (
        min(max(int(at - CROP / 2 + rng.uniform(-24, 24)), 0), world.SIDE - CROP)
        for at in (thing.x, thing.y)
    )
    return x, y


def _crop(batch: torch.Tensor, corners: list[tuple[int, int]]) -> torch.Tensor:
    return torch.stack(
        [one[:, y : y + CROP, x : x + CROP] for one, (x, y) in zip(batch, corners, strict=True)]
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """What a stage learns: `case` draws clean pictures and what the U-Net is given beside noise."""

    case: Callable[[list[world.Scene], int], tuple[torch.Tensor, dict[str, Any]]]
    alphas_cumprod: torch.Tensor
    batch: int
    side: int


def _train(denoiser: PixelDenoiser, context: TrainingContext, folder: Path, task: _Task) -> None:
    trainer = Trainer(denoiser, rate=context.stage.rate, matrices="unet.")
    fast = cast(PixelDenoiser, trainer.fast)
    # Written-out attention: on processors the fused kernel's backward pass is far slower.
    fast.unet.set_attn_processor(AttnProcessor())
    words = t5.Sentences(context.tokenizer)

    def loss(step: int) -> torch.Tensor:
        scenes = context.curriculum.scenes(task.batch)
        clean, given = task.case(scenes, step)
        told = words([dataset.caption(scene, context.curriculum.rng) for scene in scenes])
        times = torch.randint(len(task.alphas_cumprod), (len(clean),))
        signal_scale = task.alphas_cumprod[times].sqrt()[:, None, None, None]
        noise_scale = (1 - task.alphas_cumprod[times]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        noisy = signal_scale * clean + noise_scale * noise
        beside = given.pop("beside", None)
        shown = noisy if beside is None else torch.cat([noisy, beside], 1)

        def said(model: PixelDenoiser, rows: torch.Tensor) -> torch.Tensor:
            more = {name: value[rows] for name, value in given.items()}
            return model(shown[rows], times[rows], tuple(part[rows] for part in told), **more)

        wanted = context.curriculum.target(signal_scale * noise - noise_scale * clean, scenes, said)
        error = (fast(shown, times, told, **given) - wanted).square()
        if clean.shape[-1] == task.side:  # no crops, which are on things anyway
            error = error * dataset.importance(scenes, task.side, EMPHASIS)
        return error.mean()

    average = cast(PixelDenoiser, trainer.average)

    def look() -> None:
        export(_pipeline(average, context.tokenizer, folder), folder)

    run_stage(context.stage.name, trainer, context.stage.steps, loss, look=look)


def _pipeline(denoiser: PixelDenoiser, tokenizer: T5Tokenizer, folder: Path) -> Any:
    """A stage as the pipeline that everybody knows; the second is given the first's embeddings."""
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
        cast(Any, None), cast(Any, None), denoiser.unet, cast(Any, scheduler()), noising(), **rest
    )
