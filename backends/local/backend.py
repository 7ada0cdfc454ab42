"""Pipelines on this machine: any diffusers text-to-image model, and the miniatures.

A model's `options` may hold `scheduler`, `torch_dtype`, `variant`, `config` (for a single file:
the folder or Hub id of a model with the same layout), `device`, for a cascade `stages` (the sources
of the further ones, with commas between them), `stage_steps` and `stage_guidance_scale`, for
discrete diffusion `truncation_rate`, and whatever a user's `Options` hold. Three settings are read:
LINEUP_DEVICE (cuda, cuda:1, mps, cpu, or several with commas between them; what is there when
unset), LINEUP_MEMORY_GB (how much of each device's memory models may keep between runs; a share of
what it has when unset) and LINEUP_RAM_GB (how much RAM models may keep that wait for their device
or are offloaded; half of it when unset).

Nothing here imports torch: that happens in the worker's thread, at the first run.
"""

import secrets
from collections.abc import AsyncGenerator
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
from backends.local.adapters.references import adapter_folders
from backends.local.errors import INSTALL, explain
from backends.local.memory import devices
from backends.local.memory.devices import DeviceAssignment, device_assignment
from backends.local.options import Options
from backends.local.prepare import build_job, missing_weights, stages
from backends.local.weights import sources
from backends.local.worker import DeviceWorker, device_worker

_PACKAGES = ("torch", "diffusers", "transformers")


class Local(Backend):
    """Draws on this machine, one run at a time on each device."""

    name: ClassVar[str] = "local"
    label: ClassVar[str] = "this machine"
    Options: ClassVar[type | None] = Options

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for name in self._spread.devices:
            self._machine(name)  # a ZeroGPU Space looks for its functions at the start

    def ready(self, model: Model) -> Ready:
        """Look for packages and files, by their names only."""
        if _lacks_packages():
            return Ready(Readiness.NEEDS_PACKAGE, INSTALL)
        try:
            located = map(sources.locate, (model.source, *stages(model)))
            found = [sources.find(source, model.label) for source in located]
        except NotReady as error:
            return Ready(Readiness.UNAVAILABLE, str(error))
        if all(found):
            return Ready(Readiness.READY)
        if sources.offline():
            return Ready(
                Readiness.UNAVAILABLE,
                f"{model.label} is not on this machine, and the Hub's client is set to offline.",
            )
        size = f"{model.download_gb:.1f} GB" if model.download_gb else "its weights"
        return Ready(Readiness.NEEDS_DOWNLOAD, f"Downloads {size} first.")

    def warm(self) -> None:
        """Import torch and diffusers, which takes longer than a small model takes to draw."""
        if not _lacks_packages():
            for name in self._spread.devices:
                self._machine(name).warm()

    def lane(self, model: Model) -> Lane:
        """One lane for each device."""
        return Lane(f"local {self._spread.device_of(model)}", 1)

    async def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Fetch, load and draw, then say what was taken as asked."""
        try:
            async with aclosing(self._events(model, request)) as events:
                async for event in events:
                    yield event
        except Exception as error:
            raise explain(error, model.label) from error

    async def aclose(self) -> None:
        """Let go of the models in memory; a later run loads its own again."""
        for name in self._spread.used:
            self._machine(name).close()

    async def _events(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        if _lacks_packages():
            raise MissingPackage(f"{model.label} needs packages that are not installed. {INSTALL}")
        fitted = fit(model, request)
        seed = secrets.randbits(32) if fitted.request.seed is None else fitted.request.seed
        work = await build_job(
            model,
            fitted.request,
            request.options.get(self.name, {}),
            seed,
            adapter_folders(self.config),
        )
        honoured = {"seed": Applied(request.seed, seed), **fitted.honoured}
        place = self._machine(self._spread.device_of(model))
        async with aclosing(missing_weights(work, place, model.download_gb)) as news:
            async for loading in news:
                yield loading
        async with aclosing(place.run(work)) as events:
            async for event in events:
                if isinstance(event, Receipt):
                    event = replace(event, honoured={**honoured, **event.honoured})
                yield event

    @property
    def _spread(self) -> DeviceAssignment:
        return device_assignment(devices.several(self.config.value("LINEUP_DEVICE")))

    def _machine(self, name: str) -> DeviceWorker:
        device_gb, ram_gb = (self.config.value(f"LINEUP_{kind}_GB") for kind in ("MEMORY", "RAM"))
        return device_worker(name, devices.Budgets(device_gb, ram_gb, len(self._spread.devices)))


class Miniature(Local):
    """The small models that ship with the app, drawn by the same machine."""

    name: ClassVar[str] = "miniature"
    label: ClassVar[str] = "this machine"


def _lacks_packages() -> bool:
    return any(find_spec(package) is None for package in _PACKAGES)


__all__ = ["Local", "Miniature"]
