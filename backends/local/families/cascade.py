"""Pixel cascades: a base model and super-resolution stages (DeepFloyd IF, an open Imagen).

There is no autoencoder: each stage works on pixels. Each is a diffusers pipeline in its own folder;
`CascadePipeline` calls them as one. The first stage's T5 encodes the prompt once for all stages
(Imagen, arXiv 2205.11487). A request's steps and guidance apply to the first stage; the further
ones use `stage_steps` and `stage_guidance_scale` of the model's entry in the catalogue, by default
half as many steps and the default guidance of their class.
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
from backends.local.weights.sources import SHARED, complete_path, variant_in

_PREVIEW_SIDE: Final = 64
"""Maximum side of a preview in pixels; larger intermediate pictures are scaled down."""
_STAGE_GUIDANCE: Final = 4.0
"""The default guidance of a further stage: that of IF's pipeline."""
_LEARNED_VARIANCE_SCHEDULERS: Final = frozenset(
    {"DDPMScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"}
)
"""Schedulers that support the variance which IF's U-Nets predict as well."""

StepCallback = Callable[[Any, int, Any, dict[str, torch.Tensor]], Any]


class PixelCascade(Family):
    """DeepFloyd IF, for which there is no ControlNet."""

    def load(self, path: Path, spec: ModelSpec, dtype: torch.dtype, device: Device) -> Any:
        """Load all stages; the further ones share its text encoder and safety checks."""
        base = from_folder(path, spec.variant, dtype, device)
        shared = {name: part for name, part in base.components.items() if name in SHARED}
        shared |= {"text_encoder": None, "tokenizer": None}  # the first stage encodes the prompt
        further = [
            _load_stage(complete_path(stage, spec.label), shared, dtype, device)
            for stage in spec.stages
        ]
        return CascadePipeline(base, further)

    def pipeline_call(
        self,
        pipeline: Any,
        latent_preview: LatentPreview | None,
        job: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """Return a call with the arguments of the further stages."""
        return _CascadeCall(pipeline, latent_preview, job, emit)

    def with_init_image(self, pipeline: Any, label: str) -> Any:
        """Return the cascade with the image-to-image variant of the first stage."""
        first: Any = IFImg2ImgPipeline(**pipeline.base.components, requires_safety_checker=False)
        first.set_progress_bar_config(disable=True)
        return CascadeImg2ImgPipeline(first, pipeline.further)

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        return LatentPreview(
            torch.eye(3) / 2, torch.full((3,), 0.5)
        )  # it is the picture, from -1 to 1


class _CascadeCall(PipelineCall):
    def _keyword_arguments(self) -> dict[str, Any]:
        job = self._job
        return super()._keyword_arguments() | {
            "stage_steps": job.stage_steps,
            "stage_guidance_scale": job.stage_guidance_scale,
        }

    def _is_guided(self) -> bool:
        """Tell whether any stage is guided: the further ones have their own scale."""
        scale = self._job.stage_guidance_scale
        further = bool(self._job.spec.stages) and (_STAGE_GUIDANCE if scale is None else scale) > 1
        return further or super()._is_guided()

    def _grid(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the first picture's pixels, (3, height, width)."""
        return F.adaptive_avg_pool2d(latents[0].float(), min(_PREVIEW_SIDE, *latents.shape[2:]))


@dataclass(frozen=True, slots=True)
class CascadeOutput:
    """Finished pictures, and which of them a stage's safety check withheld."""

    images: list[Image.Image]
    nsfw_content_detected: list[bool] | None = None


class CascadePipeline:
    """Several stages with the interface of one diffusers pipeline."""

    max_prompt_tokens: Final = 77
    """A constant in IF's `encode_prompt`, independent of its tokenizer."""

    def __init__(self, base: Any, further: Sequence[Any]) -> None:
        self.base, self.further = base, tuple(further)
        self._stage_schedulers = [stage.scheduler for stage in self.further]
        self._original_scheduler = type(base.scheduler).__name__
        self.num_timesteps = 0

    @property
    def components(self) -> dict[str, Any]:
        """The components of all stages; those of the second begin with `stage_2_`, and so on."""
        parts = dict(self.base.components)
        for number, stage in enumerate(self.further, start=2):
            parts |= {f"stage_{number}_{name}": part for name, part in stage.components.items()}
        return parts

    @property
    def scheduler(self) -> Any:
        """The first stage's scheduler; the further stages keep their own."""
        return self.base.scheduler

    @scheduler.setter
    def scheduler(self, scheduler: Any) -> None:
        kind = type(scheduler).__name__
        if kind not in _LEARNED_VARIANCE_SCHEDULERS and kind != self._original_scheduler:
            raise BadInput(
                f"A pixel cascade cannot work with the scheduler {kind}. "
                "Choose DDPM, DPM++ 2M or DPM++ 2S, or none for the model's own."
            )
        self.base.scheduler = scheduler

    def encode_prompt(self, *arguments: Any, **keywords: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the first stage's embeddings of the prompt and of the negative prompt."""
        return self.base.encode_prompt(*arguments, **keywords)

    def set_progress_bar_config(self, **keywords: Any) -> None:
        """Configure the progress bars of all stages."""
        for stage in (self.base, *self.further):
            stage.set_progress_bar_config(**keywords)

    def to(self, device: str) -> Self:
        """Move the weights of all stages to `device`."""
        for stage in (self.base, *self.further):
            stage.to(device)
        return self

    def enable_model_cpu_offload(self, **keywords: Any) -> None:
        """Offload every network to RAM while it is not running, as in diffusers' pipelines."""
        for stage in (self.base, *self.further):
            stage.enable_model_cpu_offload(**keywords)

    def enable_group_offload(self, exclude_modules: Sequence[str] = (), **keywords: Any) -> None:
        """Offload every layer to RAM while it is not running, except excluded components."""
        for number, stage in enumerate((self.base, *self.further), start=1):
            prefix = f"stage_{number}_" if number > 1 else ""
            excluded = [name for name in stage.components if prefix + name in exclude_modules]
            stage.enable_group_offload(exclude_modules=excluded, **keywords)

    def maybe_free_model_hooks(self) -> None:
        """Move the networks that a run left on the device back to RAM."""
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
        callback_on_step_end: StepCallback | None = None,
        stage_steps: int = 0,
        stage_guidance_scale: float | None = None,
    ) -> CascadeOutput:
        """Generate pictures; the callback gets the current pixels, (pictures, 3, height, width)."""
        keywords = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        return self._draw(
            (prompt, negative_prompt, num_images_per_prompt),
            keywords,
            {"generator": generator, "callback": self._step_callback(callback_on_step_end)},
            (num_inference_steps, stage_steps or -(-num_inference_steps // 2)),
            {} if stage_guidance_scale is None else {"guidance_scale": stage_guidance_scale},
        )

    def _draw(
        self,
        prompt_input: tuple[str, str | None, int],
        first: dict[str, Any],
        shared: dict[str, Any],
        steps: tuple[int, int],
        later: dict[str, Any],
    ) -> CascadeOutput:
        """Run all stages, with keywords of the first, of all (`shared`), and of the later."""
        self.num_timesteps = steps[0] + steps[1] * len(self.further)
        prompt, negative, count = prompt_input
        conditional, unconditional = self.encode_prompt(
            prompt,
            do_classifier_free_guidance=True,  # a later stage may use it where the first does not
            num_images_per_prompt=count,
            negative_prompt=negative,
        )
        shared = shared | {"prompt_embeds": conditional, "negative_prompt_embeds": unconditional}
        result = self.base(**first, **shared, output_type=self._output_type(0))
        for number, stage in enumerate(self.further, start=1):
            # A stopped run leaves a scheduler in an intermediate state.
            original = self._stage_schedulers[number - 1]
            stage.scheduler = type(original).from_config(original.config)
            result = stage(
                image=result.images,
                num_inference_steps=steps[1],
                output_type=self._output_type(number),
                **later,
                **shared,
            )
        flags = [result.nsfw_detected or [], result.watermark_detected or []]
        withheld = [any(pair) for pair in zip(*flags, strict=True)] if all(flags) else flags[0]
        return CascadeOutput(result.images, withheld or None)

    def _output_type(self, number: int) -> str:
        """Return the output type: pixels for the next stage, checked pictures from the last."""
        return "pil" if number == len(self.further) else "pt"

    def _step_callback(
        self, callback: StepCallback | None
    ) -> Callable[[int, Any, torch.Tensor], None]:
        def step(_: int, time: Any, pixels: torch.Tensor) -> None:
            if callback is not None:
                callback(self, 0, time, {"latents": pixels})

        return step


class CascadeImg2ImgPipeline(CascadePipeline):
    """A cascade whose first stage starts from an initial picture."""

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
        callback_on_step_end: StepCallback | None = None,
        stage_steps: int = 0,
        stage_guidance_scale: float | None = None,
    ) -> CascadeOutput:
        """Generate from `image`; only the last steps of the first stage are run."""
        keywords = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        images = [image] * num_images_per_prompt
        return self._draw(
            (prompt, negative_prompt, num_images_per_prompt),
            keywords | {"image": images, "strength": strength},
            {"generator": generator, "callback": self._step_callback(callback_on_step_end)},
            (int(num_inference_steps * strength), stage_steps or -(-num_inference_steps // 2)),
            {} if stage_guidance_scale is None else {"guidance_scale": stage_guidance_scale},
        )


def _load_stage(path: Path, shared: dict[str, Any], dtype: torch.dtype, device: Device) -> Any:
    return DiffusionPipeline.from_pretrained(
        str(path),
        dtype=dtype,
        variant=variant_in(path, device.kind),
        use_safetensors=True,
        local_files_only=True,
        requires_safety_checker=False,
        **shared,
    )
