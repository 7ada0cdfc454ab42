"""Pipelines on this machine: any diffusers text-to-image model, and the miniatures.

A model's `options` may hold `scheduler`, `torch_dtype`, `variant`, `config` (for a single file:
the folder or Hub id of a model with the same layout), `device`, for a cascade `stages` (the sources
of the further stages, separated by commas), `stage_steps` and `stage_guidance_scale`, for discrete
diffusion `truncation_rate`, and every field of `Options`. Three settings are read: LINEUP_DEVICE
(cuda, cuda:1, mps, cpu, or several separated by commas; detected when unset), LINEUP_MEMORY_GB (the
memory on each device that models may occupy between runs; a share of the total when unset) and
LINEUP_RAM_GB (the RAM that evicted and offloaded models may occupy; half of it when unset).

Nothing here imports torch: the worker's thread does so at the first run.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from importlib.util import find_spec
from typing import ClassVar

from backends.base import (
    Applied,
    Backend,
    Config,
    Event,
    Lane,
    Model,
    Readiness,
    Ready,
    Receipt,
    Request,
)
from backends.errors import MissingPackage, NotReady
from backends.fit import fit
from backends.local.adapters.folders import adapter_folders
from backends.local.errors import INSTALL, explain
from backends.local.job import LocalJob
from backends.local.memory import devices
from backends.local.memory.devices import DeviceAssignment, device_assignment
from backends.local.native_size import with_native_size
from backends.local.options import Options
from backends.local.prepare import build_job, check_model, download_missing, stages
from backends.local.weights import contents, sources
from backends.local.worker import DeviceWorker, device_worker
from backends.prompt_length import PromptLength, measure
from backends.prompt_syntax import Syntax

_PACKAGES = ("torch", "diffusers", "transformers")


class Local(Backend):
    """Pipelines on this machine, one run at a time on each device."""

    name: ClassVar[str] = "local"
    label: ClassVar[str] = "this machine"
    Options: ClassVar[type | None] = Options
    syntax = frozenset({Syntax.LORA})

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for name in self._assignment.devices:
            self._worker(name)  # a ZeroGPU Space collects its marked functions at the start

    def ready(self, model: Model) -> Ready:
        """Check that packages and files are present, and what the files hold by their headers."""
        if _lacks_packages():
            return Ready(Readiness.NEEDS_PACKAGE, INSTALL)
        try:
            located = map(sources.locate, (model.source, *stages(model)))
            found = [sources.find(source, model.label) for source in located]
        except NotReady as error:
            return Ready(Readiness.UNAVAILABLE, str(error))
        if found[0] is not None and (problem := contents.unsuitable(found[0], model.label)):
            return Ready(Readiness.UNAVAILABLE, str(problem))
        if all(found):
            return Ready(Readiness.READY)
        if sources.is_offline():
            return Ready(
                Readiness.UNAVAILABLE,
                f"{model.label} is not on this machine, and the Hub's client is set to offline.",
            )
        size = f"{model.download_gb:.1f} GB" if model.download_gb else "its weights"
        return Ready(Readiness.NEEDS_DOWNLOAD, f"Downloads {size} first.")

    def prompt_length(self, model: Model, prompt: str) -> PromptLength:
        """Return the exact length where the model's tokenizer is on this machine."""
        file = sources.tokenizer_file(model.source)
        return (file and measure(prompt, file)) or super().prompt_length(model, prompt)

    def warm(self) -> None:
        """Import torch and diffusers, which takes longer than a picture of a small model."""
        if not _lacks_packages():
            for name in self._assignment.devices:
                self._worker(name).warm()

    async def option_values(self) -> Mapping[str, Sequence[str]]:
        """Return the names in the folders of LoRAs and embeddings."""
        folders = adapter_folders(self.config)
        return {
            "loras": await asyncio.to_thread(lambda: sorted(folders.loras.names.values())),
            "embeddings": await asyncio.to_thread(
                lambda: sorted(folders.embeddings.names.values())
            ),
        }

    def lane(self, model: Model) -> Lane:
        """Return the lane of the model's device."""
        return Lane(f"local {self._assignment.device_of(model)}", 1)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Fetch, load and draw; the receipt names what was honoured."""
        try:
            async with aclosing(self._events(model, request)) as events:
                async for event in events:
                    yield event
        except Exception as error:
            raise explain(error, model.label) from error

    async def aclose(self) -> None:
        """Release the models in memory; a later run loads its own again."""
        for name in self._assignment.used:
            self._worker(name).close()

    async def _events(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        if _lacks_packages():
            raise MissingPackage(f"{model.label} needs packages that are not installed. {INSTALL}")
        seed = secrets.randbits(32)
        job, honoured = await self._prepare(model, request, seed)
        worker = self._worker(self._assignment.device_of(model))
        async with aclosing(download_missing(job, worker, model.download_gb)) as progress:
            async for loading in progress:
                yield loading
        if model.sizes.assumed:  # the files that state it may only be here now
            job, honoured = await self._prepare(model, request, seed)
        await asyncio.to_thread(check_model, job)
        async with aclosing(worker.run(job)) as events:
            async for event in events:
                if isinstance(event, Receipt):
                    event = replace(event, honoured={**honoured, **event.honoured})
                yield event

    async def _prepare(
        self, model: Model, request: Request, random_seed: int
    ) -> tuple[LocalJob, dict[str, Applied]]:
        """Return the job for a request, and what becomes of each input."""
        options = request.options.get(self.name, {})
        config = str(options.get("config") or model.options.get("config") or "")
        model = await asyncio.to_thread(with_native_size, model, config)
        fitted = fit(model, request, syntax=self.syntax)
        seed = random_seed if fitted.request.seed is None else fitted.request.seed
        folders = adapter_folders(self.config)
        job = await build_job(model, fitted.request, options, seed, folders)
        return job, {"seed": Applied(request.seed, seed), **fitted.honoured}

    @property
    def _assignment(self) -> DeviceAssignment:
        return device_assignment(devices.device_names(self.config.value("LINEUP_DEVICE")))

    def _worker(self, name: str) -> DeviceWorker:
        device_gb, ram_gb = (self.config.value(f"LINEUP_{kind}_GB") for kind in ("MEMORY", "RAM"))
        return device_worker(
            name, devices.Budgets(device_gb, ram_gb, len(self._assignment.devices))
        )


class Miniature(Local):
    """The small models that ship with the app, on the same devices and workers."""

    name: ClassVar[str] = "miniature"
    label: ClassVar[str] = "this machine"


def _lacks_packages() -> bool:
    return any(find_spec(package) is None for package in _PACKAGES)


__all__ = ["Local", "Miniature"]
