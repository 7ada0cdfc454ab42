"""Autoregressive models: a language model generates a picture token by token (Janus).

The approach is that of DALL-E (arXiv 2102.12092) and Parti (2206.10789). transformers has the
classes of Janus (2410.13848, 2501.17811) but no pipeline: `AutoregressivePipeline` gives them the
interface of one, as for all other families. The number of tokens of a picture is fixed, so there is
neither a number of steps nor a scheduler.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

import torch
from PIL import Image
from torch.nn import functional as F
from transformers import (
    DynamicCache,
    JanusForConditionalGeneration,
    JanusProcessor,
    LogitsProcessor,
    LogitsProcessorList,
)

from backends.base import Event
from backends.local.families.base import Family
from backends.local.families.pipeline_call import PipelineCall
from backends.local.families.preview import LatentPreview, fit_token_preview
from backends.local.finite import FiniteCheck, NonFinite, Part
from backends.local.job import LocalJob, ModelSpec
from backends.local.memory.devices import Device

_NO_TOKEN: Final = 2**30
Tokens = list[torch.Tensor]
"""The tokens so far, in order, each of shape (pictures,) on the model's device."""
StepCallback = Callable[[Any, int, Any, dict[str, Tokens]], Any]


class Autoregressive(Family):
    """Janus, which has neither an image-to-image pipeline nor a ControlNet."""

    def load(self, path: Path, spec: ModelSpec, dtype: torch.dtype, device: Device) -> Any:
        """Load model and processor from a folder as transformers saves it."""
        keywords: dict[str, Any] = {"variant": spec.variant} if spec.variant else {}
        model = JanusForConditionalGeneration.from_pretrained(
            str(path), dtype=dtype, use_safetensors=True, local_files_only=True, **keywords
        )
        processor = JanusProcessor.from_pretrained(str(path), local_files_only=True)
        return AutoregressivePipeline(model, processor)

    def pipeline_call(
        self,
        pipeline: Any,
        latent_preview: LatentPreview | None,
        job: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """Return a call that arranges the tokens so far for previews."""
        return _AutoregressiveCall(pipeline, latent_preview, job, emit)

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        vq = pipeline.model.model.vqmodel
        codebook = F.normalize(vq.quantize.embedding.weight.detach().float().cpu(), dim=-1)

        def decode(codes: torch.Tensor) -> torch.Tensor:
            vectors = codes.to(vq.device, vq.dtype)
            return vq.decoder(vq.post_quant_conv(vectors)) / 2 + 0.5

        return fit_token_preview(codebook, decode, folder)


class _AutoregressiveCall(PipelineCall):
    def _grid(self, latents: Any) -> torch.Tensor:
        """Return the first picture's tokens as (height, width); missing ones are `_NO_TOKEN`."""
        tokens = torch.stack([token[0] for token in cast(Tokens, latents)])
        total: int = self._pipeline.num_timesteps
        side = math.isqrt(total)
        return F.pad(tokens, (0, total - len(tokens)), value=_NO_TOKEN).reshape(side, side)


@dataclass(frozen=True, slots=True)
class AutoregressiveOutput:
    """Finished pictures, in the form of diffusers' pipeline outputs."""

    images: list[Image.Image]


class AutoregressivePipeline:
    """Janus with the interface of a diffusers pipeline."""

    scheduler: Any = None

    def __init__(self, model: JanusForConditionalGeneration, processor: JanusProcessor) -> None:
        self.model, self._processor = cast(Any, model).eval(), cast(Any, processor)
        self.num_timesteps: int = self.model.model.vision_model.config.num_image_tokens

    @property
    def components(self) -> dict[str, Any]:
        """The only component."""
        return {"model": self.model}

    def set_progress_bar_config(self, **_: Any) -> None:
        """Ignore the settings: there is no progress bar."""

    def to(self, device: str) -> Self:
        """Move the weights to `device`."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def __call__(
        self,
        prompt: str,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: list[torch.Generator] | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> AutoregressiveOutput:
        """Generate pictures, one generator each; the default guidance is the model's own."""
        model, config = self.model, self.model.generation_config
        conversation = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        text = self._processor.apply_chat_template(conversation, add_generation_prompt=True)
        inputs = self._processor(
            text=[text] * num_images_per_prompt, generation_mode="image", return_tensors="pt"
        )
        generators = generator or [
            torch.Generator().manual_seed(0) for _ in range(num_images_per_prompt)
        ]
        guidance = float(guidance_scale or config.guidance_scale or 5.0)
        written: Tokens = []

        def on_token(tokens: torch.Tensor) -> None:
            written.append(tokens)
            if callback_on_step_end is not None:
                callback_on_step_end(self, len(written) - 1, None, {"latents": written})

        tokens = model.generate(
            **inputs.to(model.device),
            generation_mode="image",
            do_sample=False,  # the logits processor samples
            guidance_scale=1.0,  # and guides: noise is added after guidance
            logits_processor=LogitsProcessorList(
                [_GuidedSampler(guidance, float(config.temperature or 1.0), generators, on_token)]
            ),
            **_cache(model),
        )
        decoded = model.decode_image_tokens(tokens).float().cpu()
        FiniteCheck(num_images_per_prompt).add(decoded, Part.DECODER)
        pixels = (decoded.clamp(-1, 1) + 1) * 127.5
        return AutoregressiveOutput(
            [Image.fromarray(each) for each in pixels.round().to(torch.uint8).numpy()]
        )


def _cache(model: Any) -> dict[str, DynamicCache]:
    """Return a dynamic key-value cache, under the argument name of the installed transformers.

    The default static cache has the length of the longest generation so far: earlier pictures
    would change the last bit of later ones.
    """
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    return {name: DynamicCache(config=model.config.get_text_config(decoder=True))}


class _GuidedSampler(LogitsProcessor):
    """Classifier-free guidance, then sampling with one generator for each picture.

    transformers would sample with the global generator. Adding Gumbel noise, which is minus the
    logarithm of exponential noise, and taking the maximum samples from the same distribution (the
    Gumbel-max trick: Maddison et al., arXiv 1411.0030), and that noise can come from a generator
    for each picture. transformers applies its own guidance after the given processors, so guidance
    has to be applied here too.
    """

    def __init__(
        self,
        guidance: float,
        temperature: float,
        generators: list[torch.Generator],
        on_token: Callable[[torch.Tensor], None],
    ) -> None:
        self._guidance, self._temperature, self._generators = guidance, temperature, generators
        self._on_token = on_token

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Turn scores (2n, tokens), n of them with the prompt, into noisy ones (n, tokens)."""
        conditional, unconditional = scores.float().chunk(2)
        guided = (
            unconditional + (conditional - unconditional) * self._guidance
        ) / self._temperature
        if bool(guided.isnan().any()):
            raise NonFinite(Part.TOKENS)
        noise = [
            torch.empty(guided.shape[1]).exponential_(generator=each) for each in self._generators
        ]
        noisy = guided - torch.stack(noise).log().to(guided.device)
        self._on_token(noisy.argmax(-1))
        return noisy
