"""The diffusion miniature: an ordinary `StableDiffusionPipeline`, a few million parameters.

Latent diffusion (arXiv 2112.10752) with v-prediction (2202.00512) and a schedule that ends in
pure noise (2305.08891): without that, flat backgrounds never get their exact colour. Each v-loss
counts alike at every timestep; min-SNR weighting (2303.09556) would silence the last timestep,
where the picture's colours and places are decided.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import copy
import json
from collections import deque
from typing import Any, Final, cast

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from backends.miniatures.defaults import SETTINGS
from backends.miniatures.training.codecs import autoencoder as kl
from backends.miniatures.training.codecs import decoder
from backends.miniatures.training.codecs.preview import fit
from backends.miniatures.training.finetuning import continual, reward
from backends.miniatures.training.finetuning.curriculum import TrainingContext
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export, without_projection
from backends.miniatures.training.loop.precision import at_border, fast_type
from backends.miniatures.training.loop.trainer import CHECKPOINTS, Stage, Trainer, forget, run_stage
from backends.miniatures.training.text import clip
from backends.miniatures.world import scene as world
from backends.paths import MINIATURES

STEPS: Final = 8000
BATCH: Final = 64
READING: Final = 0.1
"""How much the questions count beside the picture: they keep the text encoder, which trains along,
able to answer what it was taught to read."""
CHANNELS: Final = (64, 96, 128)
FOLDER: Final = MINIATURES / "diffusion"
MOVED: Final = ("latents", "loose-latents")
"""Caches that another autoencoder leaves behind."""


def build() -> UNet2DConditionModel:
    """An untrained U-Net: attention at 8x8 and 4x4, only convolutions at 16x16."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=kl.LATENT_CHANNELS,
        out_channels=kl.LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=clip.WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def scheduler() -> DPMSolverMultistepScheduler:
    """DPM-Solver++ in its random form (arXiv 2211.01095), from a signal_scale-to-noise ratio of zero on.

    Fresh noise at every step lets a picture take back a thing too many: of 24 pictures of things
    alike 6 had the right number with it and 3 without (DDIM, guidance 1.5).
    """
    return DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        algorithm_type="sde-dpmsolver++",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


class LatentDenoiser(nn.Module):
    """What trains together: the U-Net, its text encoder and the questions that this is asked."""

    def __init__(self, unet: UNet2DConditionModel, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.encoder, self.questions = unet, encoder, clip.Questions()

    def forward(
        self, noisy: torch.Tensor, times: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The predicted v, shaped like `noisy` (batch, 8, 16, 16), and the pooled text states.

        Tokens are (batch, text.LENGTH), states (batch, text.WIDTH).
        """
        read = self.encoder(tokens)
        return self.unet(noisy, times, read.last_hidden_state).sample, read.pooler_output


def late_times(count: int, steps: int) -> torch.Tensor:
    """Random timesteps, later ones (more noise) a little more often: there the text decides."""
    return (torch.rand(count).pow(0.85) * steps).long().clamp_max(steps - 1)


def plain_attention(unet: nn.Module) -> None:
    """Written-out attention: on processors the fused kernel's backward pass is far slower."""
    cast(UNet2DConditionModel, unet).set_attn_processor(AttnProcessor())


def pipeline(
    denoiser: LatentDenoiser, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    """The parts as the pipeline that everybody knows."""
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=denoiser.encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=cast(Any, scheduler()),
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )


def latents(
    autoencoder: AutoencoderKL, name: str = "latents", scenes: list[world.Scene] | None = None
) -> torch.Tensor:
    """The latents (n, 8, 16, 16) of the training scenes or of others, fp16, cached as `name`."""
    fast = cast(Any, copy.deepcopy(autoencoder)).to(fast_type())

    def encode(pictures: torch.Tensor) -> torch.Tensor:
        return kl.means(fast, pictures.to(fast_type())).half()

    return dataset.encoded(name, encode, scenes or dataset.scenes())


def train() -> None:
    """All stages, each resumed from its checkpoint; exports as it goes."""
    tokenizer, reader = clip.pretrain(CHECKPOINTS / "tokenizer")
    autoencoder = kl.train()
    codes = latents(autoencoder)
    train_decoder(autoencoder, codes)
    stage = Stage("diffusion", STEPS, rate=1e-3)
    denoiser = LatentDenoiser(build(), without_projection(reader))
    train_denoiser(denoiser, autoencoder, TrainingContext(tokenizer, stage))


def refine(steps: int) -> None:
    """Go on from the committed weights: the U-Net for `steps` more steps, then the decoder."""
    saved = StableDiffusionPipeline.from_pretrained(str(FOLDER))
    tokenizer = cast(CLIPTokenizer, saved.tokenizer)
    denoiser = LatentDenoiser(saved.unet, cast(CLIPTextModel, saved.text_encoder))
    stage = Stage("diffusion-refined", steps, rate=7e-4)
    average = train_denoiser(denoiser, saved.vae, TrainingContext(tokenizer, stage))
    train_decoder(saved.vae, latents(saved.vae), "decoder-refined")
    save(average, saved.vae, tokenizer)
    forget("diffusion-refined", "decoder-refined")


def widen(steps: int, new: str = world.NEW) -> None:
    """Go on from the committed weights, with what the world has got since: autoencoder and all."""
    saved = StableDiffusionPipeline.from_pretrained(str(FOLDER))
    tokenizer, known = cast(CLIPTokenizer, saved.tokenizer), cast(CLIPTextModel, saved.text_encoder)
    stage = Stage("diffusion-widened", steps, rate=4e-4)
    curriculum = continual.start_curriculum(LatentDenoiser(saved.unet, known), stage, new)
    read = continual.by_clip(tokenizer, "pooler_output")
    encoder = continual.asked(known, read, continual.asking(stage), new=new)
    vae = kl.widen(saved.vae, curriculum.scenes, curriculum.rng)
    denoiser = LatentDenoiser(saved.unet, encoder.requires_grad_(False))
    average = train_denoiser(denoiser, vae, TrainingContext(tokenizer, stage, curriculum))
    train_decoder(vae, latents(vae, "latents-widened"), "decoder-widened")
    save(average, vae, tokenizer)
    forget("autoencoder-widened", "latents-widened", "decoder-widened", *MOVED)
    continual.done(stage)


def practise(steps: int) -> None:
    """Go on from the committed weights: the U-Net draws, is judged, and learns from it."""
    saved = StableDiffusionPipeline.from_pretrained(str(FOLDER))
    tokenizer = cast(CLIPTokenizer, saved.tokenizer)
    denoiser = LatentDenoiser(saved.unet, cast(CLIPTextModel, saved.text_encoder))
    denoiser.encoder.requires_grad_(False)
    denoiser.questions.requires_grad_(False)
    stage = Stage("diffusion-practice", steps, 5e-5)
    trainer = reward.build_trainer(denoiser, stage.rate)
    plain_attention(cast(LatentDenoiser, trainer.fast).unet)
    words = clip.Tokens(tokenizer)

    def velocity(
        model: nn.Module, noisy: torch.Tensor, times: torch.Tensor, sentences: list[str]
    ) -> torch.Tensor:
        return model(noisy.to(fast_type()), times, words(sentences))[0].float()

    def make_sampler(before: nn.Module) -> reward.Sampler:
        return _drawn_by(saved, at_border(cast(LatentDenoiser, before).unet))

    objective = reward.VelocityObjective(velocity, scheduler().alphas_cumprod, late=0.6)
    average, task = (
        cast(LatentDenoiser, trainer.average),
        reward.RewardTask(make_sampler, objective.loss),
    )
    reward.practise(task, trainer, stage, lambda: save(average, saved.vae, tokenizer))


def _drawn_by(pipe: StableDiffusionPipeline, unet: UNet2DConditionModel) -> reward.Sampler:
    """The pipeline with this U-Net, without guidance; beside pictures it gives their latents."""
    parts = {**pipe.components, "unet": unet}
    drawing = cast(Any, StableDiffusionPipeline)(**parts, requires_safety_checker=False)
    drawing.set_progress_bar_config(disable=True)

    def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
        seen = deque[torch.Tensor](maxlen=1)

        def see(_: Any, __: int, ___: int, found: dict[str, torch.Tensor]) -> dict[str, Any]:
            seen.append(found["latents"])
            return {}

        made = drawing(
            sentences,
            num_inference_steps=SETTINGS["diffusion"].steps,
            guidance_scale=1.0,
            callback_on_step_end=see,
        )
        return seen[0].half(), made.images

    return draw


def save(denoiser: LatentDenoiser, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer) -> None:
    """Export the pipeline, with what previews need."""
    preview = json.dumps(fit(autoencoder)) + "\n"
    export(pipeline(denoiser, autoencoder, tokenizer), FOLDER, {"preview.json": preview})


def train_decoder(autoencoder: AutoencoderKL, codes: torch.Tensor, name: str = "decoder") -> None:
    """The autoencoder's decoder, on the cached latents; `name` is its checkpoint's."""
    plan = decoder.Plan(name=name, noise=0.1)
    decoder.train(plan, autoencoder, codes, lambda chosen: chosen.float())


def train_denoiser(
    denoiser: LatentDenoiser, autoencoder: AutoencoderKL, context: TrainingContext
) -> LatentDenoiser:
    """The U-Net and its text encoder; gives their averaged weights."""
    stage, curriculum = context.stage, context.curriculum
    codes = latents(autoencoder, "latents" if curriculum.before is None else "latents-widened")
    trainer = Trainer(denoiser, rate=stage.rate, slow_group=("encoder.", 0.3), matrices="unet.")
    fast = cast(LatentDenoiser, trainer.fast)
    plain_attention(fast.unet)
    fast.encoder.set_attn_implementation("eager")
    batches = curriculum.batches(codes, dataset.scenes(len(codes)))
    tokens, alphas_cumprod = clip.Tokens(context.tokenizer), scheduler().alphas_cumprod

    def loss(_: int) -> torch.Tensor:
        clean, sentences, scenes = batches.draw(BATCH)
        clean = clean.float()
        times = late_times(len(clean), len(alphas_cumprod))
        signal_scale = alphas_cumprod[times].sqrt()[:, None, None, None]
        noise_scale = (1 - alphas_cumprod[times]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        noisy = (signal_scale * clean + noise_scale * noise).to(fast_type())
        words = tokens(sentences)

        def said(model: LatentDenoiser, rows: torch.Tensor) -> torch.Tensor:
            return model(noisy[rows], times[rows], words[rows])[0]

        drawn, pooled = fast(noisy, times, words)
        error = drawn.float() - curriculum.target(
            signal_scale * noise - noise_scale * clean, scenes, said
        )
        told = torch.tensor([sentence != "" for sentence in sentences])
        wanted = torch.tensor([clip.answers(scene) for scene in scenes])
        reading = fast.questions(pooled[told], wanted[told])
        return (error.square() * dataset.importance(scenes)).mean() + READING * reading

    average = cast(LatentDenoiser, trainer.average)

    def look() -> None:
        save(average, autoencoder, context.tokenizer)

    run_stage(stage.name, trainer, stage.steps, loss, look=look)
    return average
