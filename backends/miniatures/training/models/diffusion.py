"""The diffusion miniature: an ordinary `StableDiffusionPipeline`, a few million parameters.

Latent diffusion (arXiv 2112.10752) with v-prediction (2202.00512) and a schedule that ends in pure
noise (2305.08891): without that, flat backgrounds never get their exact colour. The v-loss has the
same weight at every timestep; min-SNR weighting (2303.09556) would silence the last timestep, where
the picture's colours and places are decided.
"""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import copy
import json
import random
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

from backends.miniatures import world
from backends.miniatures.defaults import SETTINGS
from backends.miniatures.training.codecs import autoencoder as kl
from backends.miniatures.training.codecs import decoder
from backends.miniatures.training.finetuning import continual, reward
from backends.miniatures.training.finetuning.curriculum import TrainingContext
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.export import export, without_projection
from backends.miniatures.training.loop.precision import cast_at_boundary, fastest_dtype
from backends.miniatures.training.loop.trainer import (
    CHECKPOINTS,
    Stage,
    Trainer,
    delete_checkpoints,
    run_stage,
)
from backends.miniatures.training.text import clip
from backends.miniatures.training.text.probes import AttributeProbes, attribute_labels
from backends.paths import MINIATURES

STEPS: Final = 8000
BATCH: Final = 64
PROBE_WEIGHT: Final = 0.1
"""Weight of the attribute probes beside the v-loss: they preserve what the text encoder, which
trains along, was pretrained to encode."""
CHANNELS: Final = (64, 96, 128)
FOLDER: Final = MINIATURES / "diffusion"
STALE_CACHES: Final = ("latents", "loose-latents")
"""Caches that are invalid for another autoencoder."""


def build() -> UNet2DConditionModel:
    """Return an untrained U-Net: attention at 8x8 and 4x4, only convolutions at 16x16."""
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
    """Return stochastic DPM-Solver++ (arXiv 2211.01095) with a terminal signal-to-noise ratio of
    zero.

    Fresh noise at every step lets the sampler remove a thing too many: of 24 pictures of things
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
    """U-Net, text encoder and attribute probes, trained together. Attribute names are keys of
    checkpoints.
    """

    def __init__(self, unet: UNet2DConditionModel, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.encoder, self.questions = unet, encoder, AttributeProbes(clip.WIDTH)

    def forward(
        self, noisy: torch.Tensor, times: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the predicted v, shaped like `noisy` (batch, 8, 16, 16), and the pooled text
        states.

        Tokens are (batch, clip.LENGTH), states (batch, clip.WIDTH).
        """
        text = self.encoder(tokens)
        return self.unet(noisy, times, text.last_hidden_state).sample, text.pooler_output


def sample_times(count: int, steps: int) -> torch.Tensor:
    """Sample timesteps, later ones (more noise) slightly more often: there the text decides."""
    return (torch.rand(count).pow(0.85) * steps).long().clamp_max(steps - 1)


def use_unfused_attention(unet: nn.Module) -> None:
    """Set written-out attention: on CPUs the fused kernel's backward pass is far slower."""
    cast(UNet2DConditionModel, unet).set_attn_processor(AttnProcessor())


def pipeline(
    denoiser: LatentDenoiser, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    """Return the parts as a pipeline of diffusers."""
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


def encode_scenes(
    autoencoder: AutoencoderKL, name: str = "latents", scenes: list[world.Scene] | None = None
) -> torch.Tensor:
    """Return the latents (n, 8, 16, 16) of the training scenes or of others, fp16, cached as
    `name`.
    """
    fast = cast(Any, copy.deepcopy(autoencoder)).to(fastest_dtype())

    def encode(pictures: torch.Tensor) -> torch.Tensor:
        return kl.encode(fast, pictures.to(fastest_dtype())).half()

    return dataset.encode_cached(name, encode, scenes or dataset.training_scenes())


def train() -> None:
    """Run all stages, each resumed from its checkpoint; exports periodically."""
    tokenizer, reader = clip.pretrain(CHECKPOINTS / "tokenizer")
    autoencoder = kl.train()
    codes = encode_scenes(autoencoder)
    train_decoder(autoencoder, codes)
    stage = Stage("diffusion", STEPS, rate=1e-3)
    denoiser = LatentDenoiser(build(), without_projection(reader))
    train_denoiser(denoiser, autoencoder, TrainingContext(tokenizer, stage))


def refine(steps: int) -> None:
    """Continue from the committed weights: the U-Net for `steps` steps, then the decoder."""
    saved = StableDiffusionPipeline.from_pretrained(str(FOLDER))
    tokenizer = cast(CLIPTokenizer, saved.tokenizer)
    denoiser = LatentDenoiser(saved.unet, cast(CLIPTextModel, saved.text_encoder))
    stage = Stage("diffusion-refined", steps, rate=7e-4)
    average = train_denoiser(denoiser, saved.vae, TrainingContext(tokenizer, stage))
    train_decoder(saved.vae, encode_scenes(saved.vae), "decoder-refined")
    save(average, saved.vae, tokenizer)
    delete_checkpoints("diffusion-refined", "decoder-refined")


def extend(steps: int, new: str = world.NEWEST_KIND) -> None:
    """Extend the committed weights by the new kind of scenes: text encoder, autoencoder, U-Net,
    decoder.
    """
    saved = StableDiffusionPipeline.from_pretrained(str(FOLDER))
    tokenizer, saved_encoder = (
        cast(CLIPTokenizer, saved.tokenizer),
        cast(CLIPTextModel, saved.text_encoder),
    )
    stage = Stage("diffusion-widened", steps, rate=4e-4)
    curriculum = continual.start_curriculum(LatentDenoiser(saved.unet, saved_encoder), stage, new)
    encode_text = clip.clip_encoding(tokenizer, "pooler_output")
    encoder = continual.extend_text_encoder(
        saved_encoder, encode_text, continual.text_stage(stage), new=new
    )
    vae = kl.extend(saved.vae, curriculum.scenes, curriculum.rng)
    denoiser = LatentDenoiser(saved.unet, encoder.requires_grad_(False))
    average = train_denoiser(denoiser, vae, TrainingContext(tokenizer, stage, curriculum))
    train_decoder(vae, encode_scenes(vae, "latents-widened"), "decoder-widened")
    save(average, vae, tokenizer)
    delete_checkpoints("autoencoder-widened", "latents-widened", "decoder-widened", *STALE_CACHES)
    continual.clean_up(stage)


def finetune_on_reward(steps: int) -> None:
    """Fine-tune the committed U-Net on its own pictures, judged by rule."""
    saved = StableDiffusionPipeline.from_pretrained(str(FOLDER))
    tokenizer = cast(CLIPTokenizer, saved.tokenizer)
    denoiser = LatentDenoiser(saved.unet, cast(CLIPTextModel, saved.text_encoder))
    denoiser.encoder.requires_grad_(False)
    denoiser.questions.requires_grad_(False)
    stage = Stage("diffusion-practice", steps, 5e-5)
    trainer = reward.build_trainer(denoiser, stage.rate)
    use_unfused_attention(cast(LatentDenoiser, trainer.fast).unet)
    encode_prompts = clip.TokenEncoder(tokenizer)

    def velocity(
        model: nn.Module, noisy: torch.Tensor, times: torch.Tensor, sentences: list[str]
    ) -> torch.Tensor:
        return model(noisy.to(fastest_dtype()), times, encode_prompts(sentences))[0].float()

    def make_sampler(reference: nn.Module) -> reward.Sampler:
        return _sampler_of(saved, cast_at_boundary(cast(LatentDenoiser, reference).unet))

    objective = reward.VelocityObjective(velocity, scheduler().alphas_cumprod, late=0.6)
    average, task = (
        cast(LatentDenoiser, trainer.average),
        reward.RewardTask(make_sampler, objective.loss),
    )
    reward.finetune(task, trainer, stage, lambda: save(average, saved.vae, tokenizer))


def _sampler_of(pipe: StableDiffusionPipeline, unet: UNet2DConditionModel) -> reward.Sampler:
    """Return a sampler: the pipeline with this U-Net, without guidance, and its final latents."""
    parts = {**pipe.components, "unet": unet}
    drawing = cast(Any, StableDiffusionPipeline)(**parts, requires_safety_checker=False)
    drawing.set_progress_bar_config(disable=True)

    def draw(sentences: list[str]) -> tuple[torch.Tensor, list[Image.Image]]:
        last = deque[torch.Tensor](maxlen=1)

        def store_latents(
            _: Any, __: int, ___: int, values: dict[str, torch.Tensor]
        ) -> dict[str, Any]:
            last.append(values["latents"])
            return {}

        output = drawing(
            sentences,
            num_inference_steps=SETTINGS["diffusion"].steps,
            guidance_scale=1.0,
            callback_on_step_end=store_latents,
        )
        return last[0].half(), output.images

    return draw


def save(denoiser: LatentDenoiser, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer) -> None:
    """Export the pipeline, with the map for previews."""
    preview = json.dumps(fit_preview(autoencoder)) + "\n"
    export(pipeline(denoiser, autoencoder, tokenizer), FOLDER, {"preview.json": preview})


@torch.no_grad()
def fit_preview(autoencoder: AutoencoderKL) -> dict[str, list[list[float]] | list[float]]:
    """Fit the linear map from latents (as a pipeline's callback sees them) to RGB from 0 to 1.

    Least squares over 256 scenes. Returns {"weight": 8 rows of 3, "bias": 3 numbers}; a preview is
    `latents @ weight + bias` per latent pixel, each of which stands for 8x8 pixels.
    """
    rng = random.Random(11)
    pictures = dataset.to_tensor([world.draw(world.sample(rng)) for _ in range(256)])
    codes = torch.cat([kl.encode(autoencoder, part) for part in pictures.split(32)])
    inputs = codes.permute(0, 2, 3, 1).flatten(0, 2)
    colours = torch.nn.functional.avg_pool2d(pictures, 8).permute(0, 2, 3, 1).flatten(0, 2)
    ones = torch.ones(len(inputs), 1)
    solution = torch.linalg.lstsq(torch.cat([inputs, ones], 1), colours / 2 + 0.5).solution
    rounded = [[round(float(value), 5) for value in row] for row in solution]
    return {"weight": rounded[:-1], "bias": rounded[-1]}


def train_decoder(autoencoder: AutoencoderKL, codes: torch.Tensor, name: str = "decoder") -> None:
    """Train the autoencoder's decoder on the cached latents; `name` is its checkpoint's."""
    plan = decoder.DecoderPlan(name=name, noise=0.1)
    decoder.train(plan, autoencoder, codes, lambda chosen: chosen.float())


def train_denoiser(
    denoiser: LatentDenoiser, autoencoder: AutoencoderKL, context: TrainingContext
) -> LatentDenoiser:
    """Train U-Net and text encoder; return their averaged weights."""
    stage, curriculum = context.stage, context.curriculum
    codes = encode_scenes(
        autoencoder, "latents" if curriculum.reference is None else "latents-widened"
    )
    trainer = Trainer(denoiser, rate=stage.rate, slow_group=("encoder.", 0.3), matrices="unet.")
    fast = cast(LatentDenoiser, trainer.fast)
    use_unfused_attention(fast.unet)
    fast.encoder.set_attn_implementation("eager")
    batches = curriculum.batches(codes, dataset.training_scenes(len(codes)))
    encode_prompts, alphas_cumprod = (
        clip.TokenEncoder(context.tokenizer),
        scheduler().alphas_cumprod,
    )

    def loss(_: int) -> torch.Tensor:
        clean, sentences, scenes = batches.sample(BATCH)
        clean = clean.float()
        times = sample_times(len(clean), len(alphas_cumprod))
        signal_scale = alphas_cumprod[times].sqrt()[:, None, None, None]
        noise_scale = (1 - alphas_cumprod[times]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        noisy = (signal_scale * clean + noise_scale * noise).to(fastest_dtype())
        token_ids = encode_prompts(sentences)

        def predict(model: LatentDenoiser, rows: torch.Tensor) -> torch.Tensor:
            return model(noisy[rows], times[rows], token_ids[rows])[0]

        predicted, pooled = fast(noisy, times, token_ids)
        error = predicted.float() - curriculum.mixed_target(
            signal_scale * noise - noise_scale * clean, scenes, predict
        )
        captioned = torch.tensor([sentence != "" for sentence in sentences])
        labels = torch.tensor([attribute_labels(scene) for scene in scenes])
        probe_loss = fast.questions(pooled[captioned], labels[captioned])
        return (error.square() * dataset.loss_weights(scenes)).mean() + PROBE_WEIGHT * probe_loss

    average = cast(LatentDenoiser, trainer.average)

    def export_average() -> None:
        save(average, autoencoder, context.tokenizer)

    run_stage(stage.name, trainer, stage.steps, loss, on_checkpoint=export_average)
    return average
