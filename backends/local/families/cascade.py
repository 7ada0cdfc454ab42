"""Pixel cascades: one model draws a small picture, others enlarge it (DeepFloyd IF, open Imagen).

No autoencoder: each stage works on pixels. Each is a diffusers pipeline in a folder of its own;
`Cascade` calls them as one. The prompt is read once, by the first stage's T5, and its embeddings go
to all stages (Imagen, arXiv 2205.11487). A request's steps and guidance are the first stage's; each
further one takes what its model's entry in the catalogue says (`stage_steps`,
`stage_guidance_scale`), else half as many steps and the guidance that is usual for its class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import torch
from diffusers.pipelines.deepfloyd_if.pipeline_if_img2img import IFImg2ImgPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from PIL import Image
from torch.nn import functional as F

from backends.base import Event
from backends.errors import BadInput
from backends.local.families.base import Family, from_folder
from backends.local.families.pipeline_call import PipelineCall
from backends.local.families.preview import LatentPreview
from backends.local.job import LocalJob, ModelSpec
from backends.local.memory.devices import Device
from backends.local.weights.sources import SHARED, variant_in, whole

_SHOWN: Final = 64
"""Pixels on a side of a preview: larger pictures in the making are shown smaller."""
_STAGE_GUIDANCE: Final = 4.0
"""The guidance of a further stage unless a model's entry says otherwise: IF's own default."""
_KNOWING: Final = frozenset(
    {"DDPMScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"}
)
"""Schedulers that know what to do with the variance that IF's U-Nets predict as well."""

Seen = Callable[[Any, int, Any, dict[str, torch.Tensor]], Any]


class PixelCascade(Family):
    """DeepFloyd IF. There is no ControlNet for it."""

    def load(self, path: Path, recipe: ModelSpec, dtype: torch.dtype, device: Device) -> Any:
        """Read all stages; the further ones share the first one's text encoder and checks."""
        base = from_folder(path, recipe.variant, dtype, device)
        shared = {name: part for name, part in base.components.items() if name in SHARED}
        shared |= {"text_encoder": None, "tokenizer": None}  # the first has read the prompt
        further = [
            _stage(whole(stage, recipe.label), shared, dtype, device) for stage in recipe.stages
        ]
        return CascadePipeline(base, further)

    def pipeline_call(
        self,
        pipeline: Any,
        look: LatentPreview | None,
        work: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """One that knows what the further stages take."""
        return _CascadeCall(pipeline, look, work, emit)

    def with_init_image(self, pipeline: Any, label: str) -> Any:
        """The first stage in its image-to-image form; the further ones enlarge what it draws."""
        first: Any = IFImg2ImgPipeline(**pipeline.base.components, requires_safety_checker=False)
        first.set_progress_bar_config(disable=True)
        return CascadeImg2ImgPipeline(first, pipeline.further)

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        return LatentPreview(
            torch.eye(3) / 2, torch.full((3,), 0.5)
        )  # it is the picture, from -1 to 1


class _CascadeCall(PipelineCall):
    def _keyword_arguments(self) -> dict[str, Any]:
        work = self._work
        return super()._keyword_arguments() | {
            "stage_steps": work.stage_steps,
            "stage_guidance_scale": work.stage_guidance_scale,
        }

    def _is_guided(self) -> bool:
        """Whether any stage is: the further ones have a scale of their own, usually above 1."""
        own = self._work.stage_guidance_scale
        further = bool(self._work.spec.stages) and (_STAGE_GUIDANCE if own is None else own) > 1
        return further or super()._is_guided()

    def _grid(self, latents: torch.Tensor) -> torch.Tensor:
        """The first picture's pixels, (3, height, width)."""
        return F.adaptive_avg_pool2d(latents[0].float(), min(_SHOWN, *latents.shape[2:]))


@dataclass(frozen=True, slots=True)
class CascadeOutput:
    """Finished pictures, and which of them a stage's own safety check withheld."""

    images: list[Image.Image]
    nsfw_content_detected: list[bool] | None = None


class CascadePipeline:
    """Several stages that are called like one diffusers pipeline."""

    reads: Final = 77
    """Tokens, whatever its tokenizer could take: written out in IF's own `encode_prompt`."""

    def __init__(self, base: Any, further: Sequence[Any]) -> None:
        self.base, self.further = base, tuple(further)
        self._own_schedulers = [stage.scheduler for stage in self.further]
        self._own_kind = type(base.scheduler).__name__
        self.num_timesteps = 0

    @property
    def components(self) -> dict[str, Any]:
        """The parts of all stages; those of the second begin with `stage_2_`, and so on."""
        parts = dict(self.base.components)
        for number, stage in enumerate(self.further, start=2):
            parts |= {f"stage_{number}_{name}": part for name, part in stage.components.items()}
        return parts

    @property
    def scheduler(self) -> Any:
        """The first stage's; the further ones keep their own kinds."""
        return self.base.scheduler

    @scheduler.setter
    def scheduler(self, fresh: Any) -> None:
        kind = type(fresh).__name__
        if kind not in _KNOWING and kind != self._own_kind:
            raise BadInput(
                f"A pixel cascade cannot work with the scheduler {kind}. "
                "Choose DDPM, DPM++ 2M or DPM++ 2S, or none for the model's own."
            )
        self.base.scheduler = fresh

    def encode_prompt(self, *arguments: Any, **words: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The prompt's embeddings and those of what is unwanted, read by the first stage."""
        return self.base.encode_prompt(*arguments, **words)

    def set_progress_bar_config(self, **words: Any) -> None:
        """Pass it on."""
        for stage in (self.base, *self.further):
            stage.set_progress_bar_config(**words)

    def to(self, device: str) -> Self:
        """Move the weights of all stages."""
        for stage in (self.base, *self.further):
            stage.to(device)
        return self

    def enable_model_cpu_offload(self, **words: Any) -> None:
        """Let every part wait in RAM until its turn; as diffusers' pipelines do it."""
        for stage in (self.base, *self.further):
            stage.enable_model_cpu_offload(**words)

    def enable_group_offload(self, exclude_modules: Sequence[str] = (), **words: Any) -> None:
        """Let every layer wait in RAM until its turn; whole parts may be left out."""
        for number, stage in enumerate((self.base, *self.further), start=1):
            prefix = f"stage_{number}_" if number > 1 else ""
            own = [name for name in stage.components if prefix + name in exclude_modules]
            stage.enable_group_offload(exclude_modules=own, **words)

    def maybe_free_model_hooks(self) -> None:
        """Send back to RAM what a run brought to the device."""
        for stage in (self.base, *self.further):
            stage.maybe_free_model_hooks()

    @torch.no_grad()
    def __call__(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        num_inference_steps: int = 100,
        guidance_scale: float = 7.0,
        num_images_per_prompt: int = 1,
        generator: list[torch.Generator] | None = None,
        callback_on_step_end: Seen | None = None,
        stage_steps: int = 0,
        stage_guidance_scale: float | None = None,
    ) -> CascadeOutput:
        """Draw; the callback is shown the pixels so far, (pictures, 3, height, width)."""
        words = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        return self._draw(
            (prompt, negative_prompt, num_images_per_prompt),
            words,
            {"generator": generator, "callback": self._passed_on(callback_on_step_end)},
            (num_inference_steps, stage_steps or -(-num_inference_steps // 2)),
            {} if stage_guidance_scale is None else {"guidance_scale": stage_guidance_scale},
        )

    def _draw(
        self,
        told: tuple[str, str | None, int],
        first: dict[str, Any],
        every: dict[str, Any],
        steps: tuple[int, int],
        later: dict[str, Any],
    ) -> CascadeOutput:
        """The words of the `first` stage alone, of `every` stage, and of the `later` ones."""
        self.num_timesteps = steps[0] + steps[1] * len(self.further)
        prompt, negative, count = told
        led, free = self.encode_prompt(
            prompt,
            do_classifier_free_guidance=True,  # one stage may want it where another does not
            num_images_per_prompt=count,
            negative_prompt=negative,
        )
        every = every | {"prompt_embeds": led, "negative_prompt_embeds": free}
        made = self.base(**first, **every, output_type=self._form(0))
        for number, stage in enumerate(self.further, start=1):
            # A stopped run leaves a scheduler in the middle of things.
            own = self._own_schedulers[number - 1]
            stage.scheduler = type(own).from_config(own.config)
            made = stage(
                image=made.images,
                num_inference_steps=steps[1],
                output_type=self._form(number),
                **later,
                **every,
            )
        flags = [made.nsfw_detected or [], made.watermark_detected or []]
        withheld = [any(pair) for pair in zip(*flags, strict=True)] if all(flags) else flags[0]
        return CascadeOutput(made.images, withheld or None)

    def _form(self, number: int) -> str:
        """Pixels as they are for the next stage; pictures, looked through, from the last one."""
        return "pil" if number == len(self.further) else "pt"

    def _passed_on(self, seen: Seen | None) -> Callable[[int, Any, torch.Tensor], None]:
        def step(_: int, time: Any, pixels: torch.Tensor) -> None:
            if seen is not None:
                seen(self, 0, time, {"latents": pixels})

        return step


class CascadeImg2ImgPipeline(CascadePipeline):
    """A cascade whose first stage starts from a picture."""

    @torch.no_grad()
    def __call__(
        self,
        prompt: str,
        *,
        image: Image.Image | None = None,
        strength: float = 0.7,
        negative_prompt: str | None = None,
        num_inference_steps: int = 80,
        guidance_scale: float = 10.0,
        num_images_per_prompt: int = 1,
        generator: list[torch.Generator] | None = None,
        callback_on_step_end: Seen | None = None,
        stage_steps: int = 0,
        stage_guidance_scale: float | None = None,
    ) -> CascadeOutput:
        """As `Cascade`, from `image` on; only the last steps of the first stage are taken."""
        words = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        small = [image] * num_images_per_prompt
        return self._draw(
            (prompt, negative_prompt, num_images_per_prompt),
            words | {"image": small, "strength": strength},
            {"generator": generator, "callback": self._passed_on(callback_on_step_end)},
            (int(num_inference_steps * strength), stage_steps or -(-num_inference_steps // 2)),
            {} if stage_guidance_scale is None else {"guidance_scale": stage_guidance_scale},
        )


def _stage(path: Path, shared: dict[str, Any], dtype: torch.dtype, device: Device) -> Any:
    return DiffusionPipeline.from_pretrained(
        str(path),
        dtype=dtype,
        variant=variant_in(path, device.kind),
        use_safetensors=True,
        local_files_only=True,
        requires_safety_checker=False,
        **shared,
    )
