"""Build the keyword arguments of a pipeline call from its signature, and run the call.

There are two styles of callback. Current pipelines have `callback_on_step_end` and take a list of
generators, so pictures can be drawn in batches: `PipelineCall`. Legacy ones (aMUSEd, VQ-Diffusion)
have `callback` and take one generator, so pictures are drawn one by one: `LegacyPipelineCall`.
Exceptions of `emit` end both. Arguments of one family only are in its own module.
"""

import inspect
import io
import itertools
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from enum import StrEnum
from typing import Any

import torch
from PIL import Image

from backends.base import Applied, Event, Picture, Preview, Progress, Value
from backends.errors import BadInput
from backends.images import encoding
from backends.local.adapters.lora import fingerprint
from backends.local.families.preview import LatentPreview, PreviewBudget
from backends.local.finite import FiniteCheck, Part
from backends.local.job import ControlNetInput, InitImage, LocalJob


class Missing(StrEnum):
    """Why a picture of a batch is missing, as noted on the card."""

    WITHHELD = "withheld by the model's own safety check"
    NOT_COMPUTED = "not computed: its numbers were lost (NaN), which would show as black"


class PipelineCall:
    """The call of a pipeline with `callback_on_step_end`, for one job."""

    def __init__(
        self,
        pipeline: Any,
        latent_preview: LatentPreview | None,
        job: LocalJob,
        emit: Callable[[Event], None],
    ) -> None:
        self._pipeline, self._job, self._emit = pipeline, job, emit
        self._latent_preview = latent_preview if job.previews else None
        self._budget = PreviewBudget()
        self._parameters = inspect.signature(pipeline.__call__).parameters
        self.ignored: dict[str, Applied] = {}
        parameter = self._parameters.get("num_inference_steps")  # absent if the number is fixed
        self._steps: int = (
            0 if parameter is None else job.request.num_inference_steps or parameter.default
        )
        loras = job.loras if hasattr(pipeline, "load_lora_weights") else ()
        self._loras = [encoding.Lora(lora.name, lora.written, fingerprint(lora)) for lora in loras]
        embeddings = job.embeddings if hasattr(pipeline, "load_textual_inversion") else ()
        self._embedding_names = [each.name for each in embeddings]
        self._keywords = (
            self._keyword_arguments()
            | self._controlnet_arguments(job.controlnet_inputs)
            | self._init_image_arguments(job.init_image)
        )

    @property
    def takes_batches(self) -> bool:
        """Whether the pipeline draws batches, with one generator for each picture."""
        return "num_images_per_prompt" in self._parameters

    def draw(self, first: int, count: int, position: tuple[int, int]) -> list[Picture | Missing]:
        """Draw `count` pictures from number `first` on.

        `position` is the number of this batch and of all batches, for the count of steps.

        Raises:
            NonFinite: no picture was computed.
        """
        seeds = [self._job.seed + first + index for index in range(count)]
        # Generators on the CPU: the same seed gives the same noise on every device.
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        check = FiniteCheck(count)
        keywords = self._keywords | self._callback(self._step_listener(position, check))
        if self.takes_batches:
            keywords |= {"generator": generators, "num_images_per_prompt": count}
        else:
            keywords |= {"generator": generators[0]}
        controlled = bool(self._job.controlnet_inputs)
        rng = _seeded_global_rng(self._pipeline.device, seeds[0]) if controlled else nullcontext()
        with rng, check.decoding(self._pipeline):
            result = self._pipeline(**keywords)
        self._note_negative_prompt()
        withheld = getattr(result, "nsfw_content_detected", None) or [False] * count
        pictures: list[Picture | Missing] = []
        for image, seed, flag, finite in zip(
            result.images, seeds, withheld, check.finite, strict=True
        ):
            if not finite:
                pictures.append(Missing.NOT_COMPUTED)
            else:
                pictures.append(Missing.WITHHELD if flag else self._to_picture(image, seed))
        return pictures

    def _keyword_arguments(self) -> dict[str, Any]:
        """Return the request as keyword arguments; unsupported fields are noted as ignored."""
        job, request = self._job, self._job.request
        requested: dict[str, Value] = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt or None,
            "width": request.width,
            "height": request.height,
            "num_inference_steps": request.num_inference_steps,
            "guidance_scale": request.guidance_scale,
        }
        keywords = {name: value for name, value in requested.items() if value is not None}
        for name in keywords.keys() - self._parameters.keys() - {"width", "height"}:
            note = f"{name.replace('_', ' ')} ignored: {job.spec.label} takes none"
            self.ignored[name] = Applied(requested[name], None, note)
        if job.scheduler and self._pipeline.scheduler is None:
            note = f"scheduler ignored: {job.spec.label} takes none"
            self.ignored["scheduler"] = Applied(job.scheduler, None, note)
        return {name: value for name, value in keywords.items() if name in self._parameters}

    def _note_negative_prompt(self) -> None:
        """Note a negative prompt that the finished run has not used."""
        job, requested = self._job, self._job.request.negative_prompt
        if not requested or "negative_prompt" not in self._keywords or self._is_guided():
            return
        scale = self._keywords.get(self._guidance_name)
        reason = f"{job.spec.label} takes none"
        if scale is not None and scale <= 1:
            reason = f"it acts through guidance, and a scale of {scale:g} is none"
        note = f"negative prompt ignored: {reason}"
        self.ignored["negative_prompt"] = Applied(requested, None, note)

    def _is_guided(self) -> bool:
        """Tell whether the finished run used classifier-free guidance.

        Most pipelines report it; otherwise a scale above 1 does (arXiv 2205.11487, section 2.2).
        """
        guided = getattr(self._pipeline, "do_classifier_free_guidance", None)
        if guided is not None:
            return bool(guided)
        name = self._guidance_name
        default = self._parameters[name].default if name in self._parameters else None
        scale: float | None = self._keywords.get(name, default)
        return scale is None or scale > 1

    @property
    def _guidance_name(self) -> str:
        """The guidance argument; beside `true_cfg_scale`, `guidance_scale` is a distilled input."""
        return "true_cfg_scale" if "true_cfg_scale" in self._parameters else "guidance_scale"

    def _controlnet_arguments(self, inputs: tuple[ControlNetInput, ...]) -> dict[str, Any]:
        """Return the arguments of one ControlNet, or lists of those of several."""
        if not inputs:
            return {}
        # In image-to-image pipelines, `image` is the initial picture.
        name = "control_image" if "control_image" in self._parameters else "image"
        lists: dict[str, list[Any]] = {
            name: [Image.open(io.BytesIO(each.picture)).convert("RGB") for each in inputs],
            "controlnet_conditioning_scale": [each.weight for each in inputs],
            "control_guidance_start": [each.start for each in inputs],
            "control_guidance_end": [each.end for each in inputs],
        }
        if "control_guidance_start" not in self._parameters:  # Z-Image's acts at every step
            spans = zip(
                lists.pop("control_guidance_start"), lists.pop("control_guidance_end"), strict=True
            )
            self._note_ignored_spans(list(spans))
        keywords = lists if len(inputs) > 1 else {name: one for name, [one] in lists.items()}
        if not keywords.keys() <= self._parameters.keys():
            raise BadInput(
                f"{self._job.spec.label} cannot be steered the usual way. "
                "Run it without the control picture."
            )
        return keywords

    def _note_ignored_spans(self, spans: list[tuple[float, float]]) -> None:
        requested = ", ".join(
            f"{start:g} to {end:g}" for start, end in spans if (start, end) != (0, 1)
        )
        if requested:
            label = self._job.spec.label
            note = f"start and end of control ignored: {label} is steered at every step"
            self.ignored["control_guidance"] = Applied(requested, None, note)

    def _init_image_arguments(self, init_image: InitImage | None) -> dict[str, Any]:
        """Return the arguments of an initial picture, from which only the last steps are run."""
        if init_image is None:
            return {}
        requested = self._steps
        strength, self._steps = self._strength(init_image.strength)
        while int(self._steps * strength) < 1:
            self._steps += 1
        keywords = {
            "image": Image.open(io.BytesIO(init_image.picture)).convert("RGB"),
            "strength": strength,
            "num_inference_steps": self._steps,
        }
        if self._steps != requested:
            note = f"{self._steps} instead of {requested} steps: one at least must be left to draw"
            self.ignored["num_inference_steps"] = Applied(requested, self._steps, note)
        self._steps = int(self._steps * strength)
        if not keywords.keys() <= self._parameters.keys():
            raise BadInput(
                f"{self._job.spec.label} cannot start from a picture the usual way. "
                "Run it without the start picture, or choose another model."
            )
        return keywords

    def _strength(self, strength: float) -> tuple[float, int]:
        """Return the nearest supported strength, and the number of steps that it needs."""
        return strength, self._steps

    def _step_listener(
        self, position: tuple[int, int], check: FiniteCheck
    ) -> Callable[[torch.Tensor], None]:
        """Return a function that checks and reports each step, given the latents of the batch."""
        done = itertools.count(1)  # with an initial picture, the pipeline's own count begins late

        def on_step(latents: torch.Tensor) -> None:
            check.add(latents, Part.DENOISER)
            steps = int(getattr(self._pipeline, "num_timesteps", None) or self._steps)
            batch, batches = position
            self._emit(
                Progress(
                    step=batch * steps + next(done),
                    steps=batches * steps,
                    preview=self._preview(latents),
                )
            )

        return on_step

    def _callback(self, on_step: Callable[[torch.Tensor], None]) -> dict[str, Any]:
        """Return the keyword arguments that make the pipeline call `on_step` after each step."""

        def step_end(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(tensors["latents"])
            return tensors

        return {"callback_on_step_end": step_end}

    def _preview(self, latents: torch.Tensor) -> Preview | None:
        """Return a preview of the first picture, None if there is none or the budget is used up."""
        if self._latent_preview is None or not self._budget.allows():
            return None
        try:
            return self._budget.render(self._latent_preview, self._grid(latents))
        except Exception:  # unexpected latents: the run continues without previews
            self._latent_preview = None
            return None

    def _grid(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the first picture's latents, (channels, height, width), or tokens."""
        return latents[0]

    def _to_picture(self, image: Image.Image, seed: int) -> Picture:
        scheduler, request = self._pipeline.scheduler, self._job.request
        used: dict[str, Any] = {name: honour.used for name, honour in self.ignored.items()}
        applied = {name: value for name, value in used.items() if hasattr(request, name)}
        text = encoding.recipe(
            replace(request, **applied),
            model=self._job.spec.label,
            seed=seed,
            scheduler="" if scheduler is None else self._job.scheduler or type(scheduler).__name__,
            size=image.size,
            loras=self._loras,
            embeddings=self._embedding_names,
        )
        return Picture(
            data=encoding.encode(image, text),
            width=image.width,
            height=image.height,
            media_type="image/png",
            seed=seed,
        )


class LegacyPipelineCall(PipelineCall):
    """The call of a pipeline with the legacy `callback` and one generator."""

    @property
    def takes_batches(self) -> bool:
        """False: pictures of a batch would share a generator and depend on each other."""
        return False

    def _callback(self, on_step: Callable[[torch.Tensor], None]) -> dict[str, Any]:
        def step(_: int, __: Any, latents: torch.Tensor) -> None:
            on_step(latents)

        return {"callback": step}


@contextmanager
def _seeded_global_rng(device: torch.device, seed: int) -> Generator[None, None, None]:
    """Seed torch's global generator: Stable Diffusion 3 encodes control pictures with it.

    (diffusers 0.42, pipeline_stable_diffusion_3_controlnet.py: `latent_dist.sample()`)
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
