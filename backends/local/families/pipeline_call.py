"""A pipeline's `__call__`, spelled as its signature wants it: each family has its own words.

There are two styles of callback. New pipelines call `callback_on_step_end` and take a list of
generators, so pictures can go through together: `Pen`. Old ones (aMUSEd, VQ-Diffusion) know
`callback` and one generator, so theirs are drawn one after another: `OneByOne`. What `emit` raises
ends both. What else is peculiar to a family stands in its own file.
"""

import inspect
import io
import itertools
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from backends.base import Applied, Event, Picture, Preview, Progress, Value
from backends.errors import BadInput
from backends.images import encoding
from backends.local.adapters.lora import fingerprint
from backends.local.families.preview import LatentPreview, PreviewBudget
from backends.local.job import ControlNetInput, InitImage, LocalJob


class PipelineCall:
    """One pipeline of the new style, held to one piece of work."""

    def __init__(
        self,
        pipeline: Any,
        look: LatentPreview | None,
        work: LocalJob,
        emit: Callable[[Event], None],
    ) -> None:
        self._pipeline, self._work, self._emit = pipeline, work, emit
        self._look = look if work.previews else None
        self._budget = PreviewBudget()
        self._parameters = inspect.signature(pipeline.__call__).parameters
        self.ignored: dict[str, Applied] = {}
        own = self._parameters.get("num_inference_steps")  # none where a picture has its own number
        self._steps: int = 0 if own is None else work.request.num_inference_steps or own.default
        loras = work.loras if hasattr(pipeline, "load_lora_weights") else ()
        self._loras = [encoding.Lora(lora.name, lora.weight, fingerprint(lora)) for lora in loras]
        words = work.embeddings if hasattr(pipeline, "load_textual_inversion") else ()
        self._words_known = [each.name for each in words]
        self._keywords = (
            self._keyword_arguments()
            | self._steering(work.controlnet_inputs)
            | self._start(work.init_image)
        )

    @property
    def takes_batches(self) -> bool:
        """Whether several pictures can go through together, each with its own generator."""
        return "num_images_per_prompt" in self._parameters

    def draw(self, first: int, count: int, turns: tuple[int, int]) -> list[Picture | None]:
        """Draw `count` pictures from the `first` on; None is one that a safety check withheld.

        `turns` says which turn of how many this is, for the count of steps.
        """
        seeds = [self._work.seed + first + index for index in range(count)]
        # Generators on the CPU: the same seed is the same noise on every device.
        dice = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        keywords = self._keywords | self._callback(self._seen(turns))
        if self.takes_batches:
            keywords |= {"generator": dice, "num_images_per_prompt": count}
        else:
            keywords |= {"generator": dice[0]}
        steered = bool(self._work.controlnet_inputs)
        with _global_dice(self._pipeline.device, seeds[0]) if steered else nullcontext():
            result = self._pipeline(**keywords)
        self._note_negative_prompt()
        withheld = getattr(result, "nsfw_content_detected", None) or [False] * count
        return [
            None if flag else self._finish(image, seed)
            for image, seed, flag in zip(result.images, seeds, withheld, strict=True)
        ]

    def _keyword_arguments(self) -> dict[str, Any]:
        """The request in the pipeline's words; what it has no word for is noted as ignored."""
        work, request = self._work, self._work.request
        asked: dict[str, Value] = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt or None,
            "width": request.width,
            "height": request.height,
            "num_inference_steps": request.num_inference_steps,
            "guidance_scale": request.guidance_scale,
        }
        words = {name: value for name, value in asked.items() if value is not None}
        for name in words.keys() - self._parameters.keys() - {"width", "height"}:
            note = f"{name.replace('_', ' ')} ignored: {work.spec.label} takes none"
            self.ignored[name] = Applied(asked[name], None, note)
        if work.scheduler and self._pipeline.scheduler is None:
            note = f"scheduler ignored: {work.spec.label} takes none"
            self.ignored["scheduler"] = Applied(work.scheduler, None, note)
        return {name: value for name, value in words.items() if name in self._parameters}

    def _note_negative_prompt(self) -> None:
        """Name a negative prompt that the run which is over has left out."""
        work, asked = self._work, self._work.request.negative_prompt
        if not asked or "negative_prompt" not in self._keywords or self._is_guided():
            return
        scale = self._keywords.get(self._guidance_word)
        why = f"{work.spec.label} takes none"
        if scale is not None and scale <= 1:
            why = f"it acts through guidance, and a scale of {scale:g} is none"
        note = f"negative prompt ignored: {why}"
        self.ignored["negative_prompt"] = Applied(asked, None, note)

    def _is_guided(self) -> bool:
        """Whether the run which is over led away from anything: where a pipeline says, it knows.

        The others' rule is that a scale of 1 is no guidance (arXiv 2205.11487, section 2.2).
        """
        own = getattr(self._pipeline, "do_classifier_free_guidance", None)
        if own is not None:
            return bool(own)
        word = self._guidance_word
        usual = self._parameters[word].default if word in self._parameters else None
        scale: float | None = self._keywords.get(word, usual)
        return scale is None or scale > 1

    @property
    def _guidance_word(self) -> str:
        """Where there are two, `guidance_scale` only tells a distilled model how to draw."""
        return "true_cfg_scale" if "true_cfg_scale" in self._parameters else "guidance_scale"

    def _steering(self, steerings: tuple[ControlNetInput, ...]) -> dict[str, Any]:
        """How one ControlNet acts, or lists of how each of several does."""
        if not steerings:
            return {}
        # Where pictures are drawn from pictures too, `image` is the other one.
        name = "control_image" if "control_image" in self._parameters else "image"
        lists: dict[str, list[Any]] = {
            name: [Image.open(io.BytesIO(each.picture)).convert("RGB") for each in steerings],
            "controlnet_conditioning_scale": [each.weight for each in steerings],
            "control_guidance_start": [each.start for each in steerings],
            "control_guidance_end": [each.end for each in steerings],
        }
        if "control_guidance_start" not in self._parameters:  # Z-Image's steers at every step
            spans = zip(
                lists.pop("control_guidance_start"), lists.pop("control_guidance_end"), strict=True
            )
            self._note_spans(list(spans))
        words = lists if len(steerings) > 1 else {name: one for name, [one] in lists.items()}
        if not words.keys() <= self._parameters.keys():
            raise BadInput(
                f"{self._work.spec.label} cannot be steered the usual way. "
                "Run it without the control picture."
            )
        return words

    def _note_spans(self, spans: list[tuple[float, float]]) -> None:
        asked = ", ".join(f"{start:g} to {end:g}" for start, end in spans if (start, end) != (0, 1))
        if asked:
            label = self._work.spec.label
            note = f"start and end of control ignored: {label} is steered at every step"
            self.ignored["control_guidance"] = Applied(asked, None, note)

    def _start(self, start: InitImage | None) -> dict[str, Any]:
        """The picture to start from; of all steps, only the last ones are taken from there."""
        if start is None:
            return {}
        asked = self._steps
        strength, self._steps = self._strength(start.strength)
        while int(self._steps * strength) < 1:
            self._steps += 1
        words = {
            "image": Image.open(io.BytesIO(start.picture)).convert("RGB"),
            "strength": strength,
            "num_inference_steps": self._steps,
        }
        if self._steps != asked:
            note = f"{self._steps} instead of {asked} steps: one at least must be left to draw"
            self.ignored["num_inference_steps"] = Applied(asked, self._steps, note)
        self._steps = int(self._steps * strength)
        if not words.keys() <= self._parameters.keys():
            raise BadInput(
                f"{self._work.spec.label} cannot start from a picture the usual way. "
                "Run it without the start picture, or choose another model."
            )
        return words

    def _strength(self, strength: float) -> tuple[float, int]:
        """The strength that the pipeline can take, and the steps that it needs at least."""
        return strength, self._steps

    def _seen(self, turns: tuple[int, int]) -> Callable[[torch.Tensor], None]:
        """What tells of each step, given the latents of all pictures that are on their way."""
        done = itertools.count(1)  # from a start picture, the pipeline's own count begins late

        def seen(latents: torch.Tensor) -> None:
            steps = int(getattr(self._pipeline, "num_timesteps", None) or self._steps)
            turn, all_turns = turns
            self._emit(
                Progress(
                    step=turn * steps + next(done),
                    steps=all_turns * steps,
                    preview=self._preview(latents),
                )
            )

        return seen

    def _callback(self, seen: Callable[[torch.Tensor], None]) -> dict[str, Any]:
        """The words by which the pipeline calls `seen` after each step."""

        def step_end(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            seen(tensors["latents"])
            return tensors

        return {"callback_on_step_end": step_end}

    def _preview(self, latents: torch.Tensor) -> Preview | None:
        """A look at the first picture, where there is one and it costs little enough."""
        if self._look is None or not self._budget.allows():
            return None
        try:
            return self._budget.show(self._look, self._grid(latents))
        except Exception:  # odd latents: the run goes on without previews
            self._look = None
            return None

    def _grid(self, latents: torch.Tensor) -> torch.Tensor:
        """What is shown of the first picture: (channels, height, width), or (height, width)."""
        return latents[0]

    def _finish(self, image: Image.Image, seed: int) -> Picture:
        own, request = self._pipeline.scheduler, self._work.request
        used: dict[str, Any] = {name: honour.used for name, honour in self.ignored.items()}
        taken = {name: value for name, value in used.items() if hasattr(request, name)}
        text = encoding.recipe(
            replace(request, **taken),
            model=self._work.spec.label,
            seed=seed,
            scheduler="" if own is None else self._work.scheduler or type(own).__name__,
            size=image.size,
            loras=self._loras,
            embeddings=self._words_known,
        )
        return Picture(
            data=encoding.encode(image, text),
            width=image.width,
            height=image.height,
            media_type="image/png",
            seed=seed,
        )


class LegacyPipelineCall(PipelineCall):
    """A pipeline of the old style: it knows `callback` and one generator."""

    @property
    def takes_batches(self) -> bool:
        """Never: pictures that share a generator would depend on their neighbours."""
        return False

    def _callback(self, seen: Callable[[torch.Tensor], None]) -> dict[str, Any]:
        def step(_: int, __: Any, latents: torch.Tensor) -> None:
            seen(latents)

        return {"callback": step}


@contextmanager
def _global_dice(device: torch.device, seed: int) -> Generator[None, None, None]:
    """Seed torch's own dice for a while: Stable Diffusion 3 encodes control pictures with them.

    (diffusers 0.42, pipeline_stable_diffusion_3_controlnet.py: `latent_dist.sample()`)
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
