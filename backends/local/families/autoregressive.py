"""Autoregressive models: a language model writes a picture token after token (Janus).

In the line of DALL-E (arXiv 2102.12092) and Parti (2206.10789). transformers has the classes of
Janus (2410.13848, 2501.17811) but no pipeline: `Writer` gives them the call of one, so that they
are drawn with as all other families are. A picture has as many tokens as it has, so that a number
of steps means nothing; nor does a scheduler.
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
from backends.local.families.preview import LatentPreview, token_look
from backends.local.job import LocalJob, ModelSpec
from backends.local.memory.devices import Device

_NONE: Final = 2**30
Tokens = list[torch.Tensor]
"""The tokens so far, first to last, each (pictures,) and on the model's device."""
Seen = Callable[[Any, int, Any, dict[str, Tokens]], Any]


class Autoregressive(Family):
    """Janus. It has neither a form for start pictures nor a ControlNet."""

    def load(self, path: Path, recipe: ModelSpec, dtype: torch.dtype, device: Device) -> Any:
        """Read model and processor from a folder as transformers saves it."""
        words: dict[str, Any] = {"variant": recipe.variant} if recipe.variant else {}
        model = JanusForConditionalGeneration.from_pretrained(
            str(path), dtype=dtype, use_safetensors=True, local_files_only=True, **words
        )
        processor = JanusProcessor.from_pretrained(str(path), local_files_only=True)
        return AutoregressivePipeline(model, processor)

    def pipeline_call(
        self,
        pipeline: Any,
        look: LatentPreview | None,
        work: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """One that lays out the tokens so far."""
        return _AutoregressiveCall(pipeline, look, work, emit)

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        vq = pipeline.model.model.vqmodel
        codebook = F.normalize(vq.quantize.embedding.weight.detach().float().cpu(), dim=-1)

        def decode(codes: torch.Tensor) -> torch.Tensor:
            given = codes.to(vq.device, vq.dtype)
            return vq.decoder(vq.post_quant_conv(given)) / 2 + 0.5

        return token_look(codebook, decode, folder)


class _AutoregressiveCall(PipelineCall):
    def _grid(self, latents: Any) -> torch.Tensor:
        """The first picture's tokens as (height, width); what is not written yet is no token."""
        written = torch.stack([token[0] for token in cast(Tokens, latents)])
        total: int = self._pipeline.num_timesteps
        side = math.isqrt(total)
        return F.pad(written, (0, total - len(written)), value=_NONE).reshape(side, side)


@dataclass(frozen=True, slots=True)
class AutoregressiveOutput:
    """Finished pictures, as diffusers' pipelines hand them out."""

    images: list[Image.Image]


class AutoregressivePipeline:
    """A Janus that is called like a diffusers pipeline."""

    scheduler: Any = None

    def __init__(self, model: JanusForConditionalGeneration, processor: JanusProcessor) -> None:
        self.model, self._processor = cast(Any, model).eval(), cast(Any, processor)
        self.num_timesteps: int = self.model.model.vision_model.config.num_image_tokens

    @property
    def components(self) -> dict[str, Any]:
        """The one model that there is."""
        return {"model": self.model}

    def set_progress_bar_config(self, **_: Any) -> None:
        """There is no bar to set."""

    def to(self, device: str) -> Self:
        """Move the weights."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def __call__(
        self,
        prompt: str,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: list[torch.Generator] | None = None,
        callback_on_step_end: Seen | None = None,
    ) -> AutoregressiveOutput:
        """Draw with the model's own guidance unless told otherwise, one generator a picture."""
        model, own = self.model, self.model.generation_config
        talk = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        text = self._processor.apply_chat_template(talk, add_generation_prompt=True)
        told = self._processor(
            text=[text] * num_images_per_prompt, generation_mode="image", return_tensors="pt"
        )
        dice = generator or [torch.Generator().manual_seed(0) for _ in range(num_images_per_prompt)]
        guidance = float(guidance_scale or own.guidance_scale or 5.0)
        written: Tokens = []

        def chosen(tokens: torch.Tensor) -> None:
            written.append(tokens)
            if callback_on_step_end is not None:
                callback_on_step_end(self, len(written) - 1, None, {"latents": written})

        tokens = model.generate(
            **told.to(model.device),
            generation_mode="image",
            do_sample=False,  # the toss has seen to it,
            guidance_scale=1.0,  # and to this: noise comes after guidance
            logits_processor=LogitsProcessorList(
                [_Toss(guidance, float(own.temperature or 1.0), dice, chosen)]
            ),
            **_cache(model),
        )
        pixels = (model.decode_image_tokens(tokens).float().cpu().clamp(-1, 1) + 1) * 127.5
        return AutoregressiveOutput(
            [Image.fromarray(each) for each in pixels.round().to(torch.uint8).numpy()]
        )


def _cache(model: Any) -> dict[str, DynamicCache]:
    """A cache that grows with the picture, under the name that this transformers has for it.

    The static one that it would make itself is as long as the longest one so far: what was drawn
    before would change the last bit of what is drawn next.
    """
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    return {name: DynamicCache(config=model.config.get_text_config(decoder=True))}


class _Toss(LogitsProcessor):
    """Classifier-free guidance, and then each picture's own dice.

    transformers would draw tokens with the one dice that everybody shares. To add Gumbel noise,
    which is minus the logarithm of exponential noise, and to take the largest is to draw from the
    same distribution (the Gumbel-max trick: Maddison et al., arXiv 1411.0030), and that noise can
    come from a generator for each picture. transformers runs its own guidance after the processors
    that it is given, so that it has to happen here, too.
    """

    def __init__(
        self,
        guidance: float,
        temperature: float,
        dice: list[torch.Generator],
        chosen: Callable[[torch.Tensor], None],
    ) -> None:
        self._guidance, self._temperature, self._dice = guidance, temperature, dice
        self._chosen = chosen

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """From scores (2n, tokens), n with the prompt and n without, to noisy ones (n, tokens)."""
        led, free = scores.float().chunk(2)
        wanted = (free + (led - free) * self._guidance) / self._temperature
        noise = [torch.empty(wanted.shape[1]).exponential_(generator=each) for each in self._dice]
        tossed = wanted - torch.stack(noise).log().to(wanted.device)
        self._chosen(tossed.argmax(-1))
        return tossed
