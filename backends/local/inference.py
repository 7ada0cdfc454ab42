"""One run, from the request to the receipt. Runs in the worker thread of its device.

Whatever it has to say goes through `emit`, which raises `Stopped` when nobody listens any more:
so a stop takes effect at the next step.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from backends.base import Applied, Event, Loading, Picture, Receipt
from backends.errors import BadInput, OutOfMemory, Refused
from backends.local.acceleration import acceleration, processor_threads
from backends.local.adapters.lora import apply_loras
from backends.local.adapters.references import state
from backends.local.adapters.textual_inversion import textual_inversions
from backends.local.errors import lost_its_device, ran_out_of_memory
from backends.local.families.pipeline_call import PipelineCall
from backends.local.job import LocalJob, ModelSpec
from backends.local.loading import Loaded, component_parameters, load_controlnet, load_pipeline
from backends.local.memory.cache import ModelCache
from backends.local.memory.devices import Device, free
from backends.local.memory.offload import (
    advice,
    footprint,
    release,
    supported_spec,
    without_offload_hooks,
)
from backends.local.schedulers import make_scheduler
from backends.local.text.embedding_cache import cached_prompt_embeddings
from backends.local.text.truncation import truncated_prompts

# Pictures that go through together: eight of 512x512, two of 1024x1024.
_TOGETHER: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """Where drawing happens: a device and the models in its memory."""

    device: Device
    cache: ModelCache[Loaded]


def run_job(
    place: DeviceContext, work: LocalJob, emit: Callable[[Event], None], *, woke: float = 0.0
) -> None:
    """Draw all of `work`; when memory runs out, make room and try once more, one by one.

    `woke` is how many seconds of loading came before: the first run's imports.
    """
    drawing = _Inference(place, work, emit)
    drawing.woke = woke
    crowded = False
    try:
        try:
            drawing.run()
        except Exception as error:
            if not ran_out_of_memory(error):
                if lost_its_device(error):
                    place.cache.forget()
                raise
            crowded = True
        if crowded:  # only out here are the tensors of the failed attempt let go
            place.cache.shrink(bound=0, keep=drawing.needed)
            free(place.device)
            emit(Loading(message="memory ran out: making room and trying once more"))
            drawing.together = 1
            try:
                drawing.run()
            except Exception as error:
                if not ran_out_of_memory(error):
                    raise
                raise OutOfMemory(drawing.advice()) from error
    finally:
        place.cache.shrink()


class _Inference:
    """The state of one run: what is drawn already, and how much goes through at once."""

    def __init__(self, place: DeviceContext, work: LocalJob, emit: Callable[[Event], None]) -> None:
        self._place, self._work, self._emit = place, work, emit
        self._recipe, self._ignored = supported_spec(work.spec, place.device)
        self._drawn = self._withheld = 0
        self._honoured: dict[str, Applied] = {}
        self.woke = 0.0
        self.together = max(
            1, _TOGETHER // ((work.request.width or 512) * (work.request.height or 512))
        )
        nets = (steering.controlnet for steering in work.controlnet_inputs)
        self.needed: frozenset[Hashable] = frozenset({self._recipe, *nets})

    def run(self) -> None:
        """Draw what is not drawn yet and hand in the receipt."""
        began = time.monotonic()
        count = self._work.request.count
        if any(recipe not in self._place.cache for recipe in self.needed):
            self._emit(Loading(message=f"loading {self._work.spec.label}"))
        loaded, pipeline = self._prepare()
        load = time.monotonic() - began
        label, worn = self._work.spec.label, state(self._work.loras, self._work.embeddings)
        try:
            with (
                processor_threads(loaded.parameters, self._place.device),
                acceleration(pipeline, self._work, self._place.device) as ignored,
                textual_inversions(pipeline, self._work.embeddings, label) as known,
                cached_prompt_embeddings(pipeline, loaded.embeddings, worn),
            ):
                self._honoured |= known | truncated_prompts(pipeline, self._work.request, label)
                pen = loaded.family.pipeline_call(pipeline, loaded.look, self._work, self._emit)
                self._draw(pen)
        finally:
            release(loaded.model, self._recipe)
        if self._withheld == count:
            raise Refused(
                "The model's own safety check withheld the picture. "
                "Change the prompt or the seed and run it again."
            )
        ignored = self._ignored | loaded.ignored | ignored | pen.ignored
        self._emit(
            Receipt(
                honoured={**ignored, **self._honoured},
                load=self.woke + load,
                generate=time.monotonic() - began - load,
            )
        )

    def advice(self) -> str:
        """What to say when memory runs out even so."""
        counts, itemsize = component_parameters(self._recipe, self._place.device)
        request = self._work.request
        size = (request.width or 512, request.height or 512)
        return advice(self._recipe, self._place.device, counts, itemsize, size)

    def _draw(self, pen: PipelineCall) -> None:
        """Draw what is not drawn yet, as many pictures at once as may be."""
        count = self._work.request.count
        most = self.together if pen.takes_batches else 1
        while self._drawn < count:
            together = min(most, count - self._drawn)
            turns = (self._drawn // most, -(-count // most))
            for picture in pen.draw(self._drawn, together, turns):
                self._hand_in(picture)
            self._drawn += together

    def _prepare(self) -> tuple[Loaded, Any]:
        """The pipeline as this run needs it: steered, started or not, a scheduler of its own."""
        work, device, pool = self._work, self._place.device, self._place.cache
        loaded = pool.get(
            self._recipe,
            lambda: load_pipeline(self._recipe, device),
            expected=0 if self._recipe in pool else self._expected(),
            keep=self.needed,
        )
        pipeline = loaded.model
        with without_offload_hooks(pipeline, device):
            self._honoured |= apply_loras(pipeline, work.loras, work.spec.label)
        if loaded.scheduler is not None:
            # A stopped run leaves it in the middle of things: every run gets a fresh one.
            pipeline.scheduler = _scheduler(loaded.scheduler, work)
        elif work.scheduler:
            note = f"scheduler ignored: {work.spec.label} takes none"
            self._honoured["scheduler"] = Applied(work.scheduler, None, note)
        if work.controlnet_inputs:
            nets = [self._controlnet(steering.controlnet) for steering in work.controlnet_inputs]
            pipeline = loaded.family.with_controlnets(pipeline, nets, work.spec.label)
        if work.init_image is not None:
            pipeline = loaded.family.with_init_image(pipeline, work.spec.label)
        pool.shrink(keep=self.needed)
        return loaded, pipeline

    def _expected(self) -> int:
        """The bytes that the model will take on the device; refused where it has not so many.

        Without that a processor would load until the system ends the whole program.
        """
        device = self._place.device
        counts, itemsize = component_parameters(self._recipe, device)
        takes = footprint(counts, self._recipe, itemsize)
        if takes.drawing > device.total:
            raise OutOfMemory(self.advice())
        return takes.drawing

    def _controlnet(self, recipe: ModelSpec) -> Any:
        device, pool = self._place.device, self._place.cache
        # What this run has in its hands already must not make room for it.
        return pool.get(recipe, lambda: load_controlnet(recipe, device), keep=self.needed).model

    def _hand_in(self, picture: Picture | None) -> None:
        count, request = self._work.request.count, self._work.request
        if picture is None:
            self._withheld += 1
            note = f"{self._withheld} of {count} withheld by the model's own safety check"
            self._honoured["count"] = Applied(count, count - self._withheld, note)
            return
        self._emit(picture)
        asked, used = (
            f"{width}x{height}"
            for width, height in ((request.width, request.height), (picture.width, picture.height))
        )
        if asked != used:
            self._honoured["size"] = Applied(asked, used, f"{used} instead of {asked}")


def _scheduler(own: Any, work: LocalJob) -> Any:
    """A fresh scheduler with the model's own settings, of the kind that the user chose."""
    trained = own.config.get("num_train_timesteps")
    if trained and (work.request.num_inference_steps or 0) > trained:
        raise BadInput(f"{work.spec.label} can take at most {trained} steps. Ask for fewer.")
    return make_scheduler(own, work.scheduler, work.spec.label)
