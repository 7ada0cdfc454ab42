"""One run, from the job to the receipt, in the worker thread of its device.

Events are reported through `emit`, which raises `Stopped` once the run has been stopped, so that a
stop takes effect at the next step.
"""

import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from backends.base import Applied, Event, Loading, Picture, Progress, Receipt
from backends.errors import BadInput, OutOfMemory, Refused
from backends.local.acceleration import acceleration, processor_threads
from backends.local.adapters.lora import apply_loras
from backends.local.adapters.references import adapter_state
from backends.local.adapters.textual_inversion import textual_inversions
from backends.local.errors import lost_its_device, ran_out_of_memory
from backends.local.families.pipeline_call import Missing, PipelineCall
from backends.local.finite import lost_part, no_picture
from backends.local.job import LocalJob, ModelSpec
from backends.local.loading import Loaded, component_parameters, load_controlnet, load_pipeline
from backends.local.memory.cache import ModelCache
from backends.local.memory.devices import Device, free_memory
from backends.local.memory.offload import (
    footprint,
    out_of_memory_advice,
    release,
    supported_spec,
    without_offload_hooks,
)
from backends.local.schedulers import make_scheduler
from backends.local.text.embedding_cache import cached_prompt_embeddings
from backends.local.text.truncation import truncated_prompts

# Pixels of a batch: eight pictures of 512x512, two of 1024x1024.
MAX_BATCH_PIXELS: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """A device and the cache of its models."""

    device: Device
    cache: ModelCache[Loaded]


def run_job(
    context: DeviceContext,
    job: LocalJob,
    emit: Callable[[Event], None],
) -> None:
    """Run `job`; when memory runs out, make room and try once more with single pictures.

    Raises:
        BackendError: the job cannot be run.
    """
    inference = _Inference(context, job, emit)
    retry = False
    try:
        try:
            inference.run()
        except Exception as error:
            if not ran_out_of_memory(error):
                if lost_its_device(error):
                    context.cache.abandon()
                raise
            retry = True
        if retry:  # outside `except`, where the traceback no longer holds tensors
            context.cache.shrink(device_budget=0, keep=inference.required)
            free_memory(context.device)
            emit(Loading(message="memory ran out: making room and trying once more"))
            inference.batch_size = 1
            try:
                inference.run()
            except Exception as error:
                if not ran_out_of_memory(error):
                    raise
                raise OutOfMemory(inference.out_of_memory_message()) from error
    finally:
        context.cache.shrink()


class _Inference:
    """The state of one run: pictures drawn so far, batch size, and what was honoured."""

    def __init__(
        self, context: DeviceContext, job: LocalJob, emit: Callable[[Event], None]
    ) -> None:
        self._context, self._job, self._emit = context, job, emit
        self._spec, self._ignored = supported_spec(job.spec, context.device)
        self._finished = 0
        self._missing: Counter[Missing] = Counter()
        self._honoured: dict[str, Applied] = {}
        self._drawing_seconds = 0.0
        self.batch_size = max(
            1, MAX_BATCH_PIXELS // ((job.request.width or 512) * (job.request.height or 512))
        )
        controlnets = (control.controlnet for control in job.controlnet_inputs)
        self.required: frozenset[Hashable] = frozenset({self._spec, *controlnets})

    def run(self) -> None:
        """Draw the remaining pictures and emit the receipt."""
        count = self._job.request.count
        if any(spec not in self._context.cache for spec in self.required):
            self._emit(Loading(message=f"loading {self._job.spec.label}"))
        loaded, pipeline = self._prepare()
        label, adapters = self._job.spec.label, adapter_state(self._job.loras, self._job.embeddings)
        try:
            with (
                processor_threads(loaded.parameters, self._context.device),
                acceleration(pipeline, self._job, self._context.device) as ignored,
                textual_inversions(
                    pipeline, self._job.embeddings, self._job.request, label
                ) as known,
                cached_prompt_embeddings(pipeline, loaded.embeddings, adapters),
            ):
                self._honoured |= known | truncated_prompts(pipeline, self._job.request, label)
                call = loaded.family.pipeline_call(
                    pipeline, loaded.latent_preview, self._job, self._emit
                )
                self._emit(Progress())  # what came before counts as load
                start = time.monotonic()
                try:
                    self._draw(call)
                finally:
                    self._drawing_seconds += time.monotonic() - start
        finally:
            release(loaded.model, self._spec)
        if self._missing.total() == count:
            raise Refused(
                "The model's own safety check withheld the picture. "
                "Change the prompt or the seed and run it again."
            )
        ignored = self._ignored | loaded.ignored | ignored | call.ignored
        self._emit(Receipt(honoured={**ignored, **self._honoured}, generate=self._drawing_seconds))

    def out_of_memory_message(self) -> str:
        """Return the error message for a run that still ran out of memory."""
        counts, itemsize = component_parameters(self._spec, self._context.device)
        request = self._job.request
        size = (request.width or 512, request.height or 512)
        return out_of_memory_advice(self._spec, self._context.device, counts, itemsize, size)

    def _draw(self, call: PipelineCall) -> None:
        """Draw the remaining pictures in batches of at most `batch_size`."""
        count = self._job.request.count
        limit = self.batch_size if call.takes_batches else 1
        while self._finished < count:
            size = min(limit, count - self._finished)
            position = (self._finished // limit, -(-count // limit))
            for picture in self._batch(call, size, position):
                self._emit_picture(picture)
            self._finished += size

    def _batch(
        self, call: PipelineCall, size: int, position: tuple[int, int]
    ) -> list[Picture | Missing]:
        """Draw one batch.

        Raises:
            ServiceFault: nothing was computed, and no earlier picture either.
        """
        try:
            return call.draw(self._finished, size, position)
        except Exception as error:
            part = lost_part(error)
            if part is None:
                raise
            if self._missing.total() == self._finished:
                dtype = self._spec.dtype or self._context.device.dtype
                raise no_picture(self._job, part, dtype) from error
            return [Missing.NOT_COMPUTED] * size

    def _prepare(self) -> tuple[Loaded, Any]:
        """Return the pipeline with this run's LoRAs, ControlNets, start picture and scheduler."""
        job, device, cache = self._job, self._context.device, self._context.cache
        loaded = cache.get(
            self._spec,
            lambda: load_pipeline(self._spec, device),
            expected=0 if self._spec in cache else self._expected_bytes(),
            keep=self.required,
        )
        pipeline = loaded.model
        with without_offload_hooks(pipeline, device):
            self._honoured |= apply_loras(pipeline, job.loras, job.spec.label)
        if loaded.scheduler is not None:
            # A stopped run leaves its scheduler in an intermediate state: each run gets a new one.
            pipeline.scheduler = _make_scheduler(loaded.scheduler, job)
        elif job.scheduler:
            note = f"scheduler ignored: {job.spec.label} takes none"
            self._honoured["scheduler"] = Applied(job.scheduler, None, note)
        if job.controlnet_inputs:
            controlnets = [
                self._controlnet(control.controlnet) for control in job.controlnet_inputs
            ]
            pipeline = loaded.family.with_controlnets(pipeline, controlnets, job.spec.label)
        if job.init_image is not None:
            pipeline = loaded.family.with_init_image(pipeline, job.spec.label)
        cache.shrink(keep=self.required)
        return loaded, pipeline

    def _expected_bytes(self) -> int:
        """Return the bytes that the model will take on the device.

        Raises:
            OutOfMemory: the device has fewer. Without this check a processor would load until the
                operating system kills the whole program.
        """
        device = self._context.device
        counts, itemsize = component_parameters(self._spec, device)
        needed = footprint(counts, self._spec, itemsize)
        if needed.peak > device.total:
            raise OutOfMemory(self.out_of_memory_message())
        return needed.peak

    def _controlnet(self, spec: ModelSpec) -> Any:
        device, cache = self._context.device, self._context.cache
        # Models that this run already uses must not be evicted for it.
        return cache.get(spec, lambda: load_controlnet(spec, device), keep=self.required).model

    def _emit_picture(self, picture: Picture | Missing) -> None:
        count, request = self._job.request.count, self._job.request
        if isinstance(picture, Missing):
            self._missing[picture] += 1
            note = "; ".join(f"{lost} of {count} {why}" for why, lost in self._missing.items())
            self._honoured["count"] = Applied(count, count - self._missing.total(), note)
            return
        self._emit(picture)
        requested, used = (
            f"{width}x{height}"
            for width, height in ((request.width, request.height), (picture.width, picture.height))
        )
        if requested != used:
            self._honoured["size"] = Applied(requested, used, f"{used} instead of {requested}")


def _make_scheduler(original: Any, job: LocalJob) -> Any:
    """Return a new scheduler of the requested kind with the model's settings."""
    training_steps = original.config.get("num_train_timesteps")
    if training_steps and (job.request.num_inference_steps or 0) > training_steps:
        raise BadInput(f"{job.spec.label} can take at most {training_steps} steps. Ask for fewer.")
    return make_scheduler(original, job.scheduler, job.spec.label)
