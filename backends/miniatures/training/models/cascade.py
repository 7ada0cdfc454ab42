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
from backends.miniatures.training.finetuning.curriculum import Lesson, Tools
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export
from backends.miniatures.training.loop.precision import at_border, fast_type
from backends.miniatures.training.loop.trainer import Stage, Trainee, forget, run_stage
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
    """DPM-Solver++ (arXiv 2211.01095), from a signal-to-noise ratio of zero on."""
    return DPMSolverMultistepScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def noising() -> DDPMScheduler:
    """How the small picture is noised for the second stage: mildly, to 0.3 at level 250."""
    return DDPMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=2.5e-3)


class Painter(nn.Module):
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
    tools = Tools(tokenizer, Stage("cascade-super", SUPER_STEPS, 1e-3))
    train_super(Painter(build_super(), encoder), tools)
    train_base(Painter(build(), encoder), Tools(tokenizer, Stage("cascade", STEPS, 1e-3)))


def refine(steps: int) -> None:
    """Go on from the committed weights: the first stage for `steps` steps, the second for some."""
    base = cast(Any, IFPipeline).from_pretrained(str(FOLDER))
    upper = cast(Any, IFSuperResolutionPipeline).from_pretrained(str(SUPER_FOLDER))
    stages = Stage("cascade-refined", steps, 5e-4), Stage("cascade-super-refined", steps // 4, 5e-4)
    train_super(Painter(upper.unet, base.text_encoder), Tools(base.tokenizer, stages[1]))
    train_base(Painter(base.unet, base.text_encoder), Tools(base.tokenizer, stages[0]))
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
    lesson = continual.lesson(Painter(base.unet, known), stages[0], new)
    encoder = continual.asked(known, t5.read_by(tokenizer), continual.asking(stages[0]), new=new)
    train_base(Painter(base.unet, encoder), Tools(tokenizer, stages[0], lesson))
    shown = Lesson(new=new, in_turns=True)
    train_super(Painter(upper.unet, encoder), Tools(tokenizer, stages[1], shown))
    forget(stages[1].name)
    continual.done(stages[0])


def practise(steps: int) -> None:
    """Go on from the committed weights: the first stage draws, is judged, and learns from it."""
    base = cast(Any, IFPipeline).from_pretrained(str(FOLDER))
    upper = cast(Any, IFSuperResolutionPipeline).from_pretrained(str(SUPER_FOLDER))
    at_border(upper.unet.to(fast_type()))
    stage = Stage("cascade-practice", steps, 5e-5)
    trainee = reward.trainee_of(Painter(base.unet, base.text_encoder), stage.rate)
    cast(Painter, trainee.fast).unet.set_attn_processor(AttnProcessor())
    words = t5.Sentences(base.tokenizer)

    def velocity(
        model: nn.Module, noisy: torch.Tensor, times: torch.Tensor, sentences: list[str]
    ) -> torch.Tensor:
        return model(noisy, times, words(sentences))

    def artist(before: nn.Module) -> reward.Draw:
        parts = {**base.components, "unet": at_border(cast(Painter, before).unet)}
        drawing = cast(Any, IFPipeline)(**parts, requires_safety_checker=False)
        return _drawn_by(drawing, upper)

    lesson = reward.Velocities(velocity, scheduler().alphas_cumprod, late=0.5)
    average = cast(Painter, trainee.average)

    def save() -> None:
        export(_pipeline(average, base.tokenizer, FOLDER), FOLDER)

    reward.practise(reward.Subject(artist, lesson.loss), trainee, stage, save)


HURRIED: Final = 4
"""Steps of the second stage while practising: what there is to see is there by then."""


def _drawn_by(base: Any, upper: Any) -> reward.Draw:
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


def train_base(painter: Painter, tools: Tools) -> None:
    """From noise and a prompt to 32x32 pixels."""
    kept = scheduler().alphas_cumprod

    def case(scenes: list[world.Scene], _: int) -> tuple[torch.Tensor, dict[str, Any]]:
        return shrunk(pictures_of(scenes)), {}

    _train(painter, tools, FOLDER, _Task(case, kept, BATCH, SIDE))


def train_super(painter: Painter, tools: Tools) -> None:
    """From noise, a prompt and a noisy small picture to 128x128 pixels, mostly by crops."""
    kept, dice, noises = scheduler().alphas_cumprod, random.Random(), noising()

    def case(scenes: list[world.Scene], step: int) -> tuple[torch.Tensor, dict[str, Any]]:
        whole = pictures_of(scenes)
        small = F.interpolate(shrunk(whole), whole.shape[2:], **UPSCALING)
        levels = torch.randint(NOISE, (len(whole),))
        small = noises.add_noise(small, torch.randn_like(small), cast(Any, levels))
        if step < (1 - WHOLE_SHARE) * tools.stage.steps:
            corners = [_corner(scene, dice) for scene in scenes]
            whole, small = (_crop(batch, corners) for batch in (whole, small))
        return whole, {"beside": small, "class_labels": levels}

    _train(painter, tools, SUPER_FOLDER, _Task(case, kept, BATCH // 2, world.SIDE))


UPSCALING: Final[dict[str, Any]] = {"mode": "bilinear", "align_corners": True}
"""As the super-resolution pipeline enlarges what it is given."""


def pictures_of(scenes: list[world.Scene]) -> torch.Tensor:
    """Their pictures (n, 3, SIDE, SIDE), from -1 to 1."""
    return to_tensor([cast(Any, world.draw(scene)) for scene in scenes])


def shrunk(pictures: torch.Tensor) -> torch.Tensor:
    """The first stage's pictures: each pixel the mean of 4x4."""
    return F.avg_pool2d(pictures, world.SIDE // SIDE)


def _corner(scene: world.Scene, dice: random.Random) -> tuple[int, int]:
    """The corner (x, y) of a crop on one of the things, in pixels."""
    thing = dice.choice(scene.things)
    x, y = (
        min(max(int(at - CROP / 2 + dice.uniform(-24, 24)), 0), world.SIDE - CROP)
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
    kept: torch.Tensor
    batch: int
    side: int


def _train(painter: Painter, tools: Tools, folder: Path, task: _Task) -> None:
    trainee = Trainee(painter, rate=tools.stage.rate, matrices="unet.")
    fast = cast(Painter, trainee.fast)
    # Written-out attention: on processors the fused kernel's backward pass is far slower.
    fast.unet.set_attn_processor(AttnProcessor())
    words = t5.Sentences(tools.tokenizer)

    def loss(step: int) -> torch.Tensor:
        scenes = tools.lesson.scenes(task.batch)
        clean, given = task.case(scenes, step)
        told = words([dataset.caption(scene, tools.lesson.dice) for scene in scenes])
        times = torch.randint(len(task.kept), (len(clean),))
        signal = task.kept[times].sqrt()[:, None, None, None]
        grain = (1 - task.kept[times]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        noisy = signal * clean + grain * noise
        beside = given.pop("beside", None)
        shown = noisy if beside is None else torch.cat([noisy, beside], 1)

        def said(model: Painter, rows: torch.Tensor) -> torch.Tensor:
            more = {name: value[rows] for name, value in given.items()}
            return model(shown[rows], times[rows], tuple(part[rows] for part in told), **more)

        wanted = tools.lesson.target(signal * noise - grain * clean, scenes, said)
        error = (fast(shown, times, told, **given) - wanted).square()
        if clean.shape[-1] == task.side:  # no crops, which are on things anyway
            error = error * dataset.importance(scenes, task.side, EMPHASIS)
        return error.mean()

    average = cast(Painter, trainee.average)

    def look() -> None:
        export(_pipeline(average, tools.tokenizer, folder), folder)

    run_stage(tools.stage.name, trainee, tools.stage.steps, loss, look=look)


def _pipeline(painter: Painter, tokenizer: T5Tokenizer, folder: Path) -> Any:
    """A stage as the pipeline that everybody knows; the second is given the first's embeddings."""
    rest: dict[str, Any] = {
        "safety_checker": None,
        "feature_extractor": None,
        "watermarker": None,
        "requires_safety_checker": False,
    }
    if folder == FOLDER:
        return IFPipeline(tokenizer, painter.encoder, painter.unet, cast(Any, scheduler()), **rest)
    return IFSuperResolutionPipeline(
        cast(Any, None), cast(Any, None), painter.unet, cast(Any, scheduler()), noising(), **rest
    )
