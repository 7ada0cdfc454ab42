"""Prepare a job before the worker gets it: check options, make control maps, fetch weights."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from backends.base import Control, Loading, Model, Request, Value
from backends.errors import BadInput
from backends.fit import STRENGTH
from backends.images import decoding
from backends.local import download
from backends.local.adapters import references
from backends.local.adapters.folders import EMBEDDING, LORA, AdapterFolders
from backends.local.control.maps import control_map
from backends.local.job import ControlNetInput, InitImage, LocalJob, ModelSpec
from backends.local.options import Options
from backends.local.weights import contents, sources

if TYPE_CHECKING:
    from backends.local.worker import DeviceWorker

_MAX_SEED = 2**63 - 1


async def build_job(
    model: Model,
    request: Request,
    user_options: Mapping[str, Value],
    seed: int,
    folders: AdapterFolders,
) -> LocalJob:
    """Build a job from a fitted request and the user's options for this backend.

    Raises:
        BackendError: an option, a picture or an adapter cannot be used.
    """
    if not 0 <= seed <= _MAX_SEED - request.count:
        raise BadInput(f"The seed must be a whole number from 0 to {_MAX_SEED:,}.")
    allowed = {field.name for field in fields(Options)}  # users may not choose sources of weights
    chosen = {
        name: value
        for name, value in user_options.items()
        if name in allowed and value not in ("", None)
    }
    options = {**model.options, **chosen}

    def text(name: str) -> str:
        value = options.get(name)
        return "" if value is None else str(value)  # 0 may be the name of a file

    single = sources.locate(model.source).single
    prompt, tags = references.extract_lora_tags(request.prompt)
    guidance = options.get("stage_guidance_scale")
    return LocalJob(
        spec=ModelSpec(
            source=model.source,
            label=model.label,
            stages=stages(model),
            dtype=text("torch_dtype"),
            variant=text("variant"),
            config=text("config") if single else "",
            offload=text("offload"),
            quantization=text("quantization"),
            compile=bool(options.get("compile")),
        ),
        request=Request(
            prompt=prompt,
            negative_prompt=request.negative_prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            count=request.count,
            strength=request.strength,
        ),
        seed=seed,
        controlnet_inputs=await _controlnet_inputs(model, request, text("torch_dtype")),
        init_image=await _init_image(request),
        stage_steps=int(options.get("stage_steps") or 0),
        stage_guidance_scale=None if guidance is None else float(guidance),
        truncation_rate=float(options.get("truncation_rate") or 1.0),
        scheduler=text("scheduler"),
        attention=text("attention"),
        step_cache=text("step_cache"),
        loras=await asyncio.to_thread(references.parse_loras, text("loras"), folders.loras, tags),
        embeddings=await asyncio.to_thread(
            references.parse_embeddings, text("embeddings"), folders.embeddings
        ),
        previews=bool(options.get("previews", True)),
    )


def stages(model: Model) -> tuple[str, ...]:
    """The sources of a cascade's further stages: `stages` in its options, with commas between."""
    named = str(model.options.get("stages") or "").split(",")
    return tuple(source.strip() for source in named if source.strip())


async def download_missing(
    job: LocalJob, worker: "DeviceWorker", download_gb: float | None
) -> AsyncGenerator[Loading, None]:
    """Fetch weights and adapters that are not on this machine yet, and yield the progress."""
    spec = job.spec
    for number, source in enumerate(map(sources.locate, (spec.source, *spec.stages)), start=1):
        if sources.find(source, spec.label) is not None:
            continue
        label = f"stage {number} of {spec.label}" if spec.stages else spec.label
        size = None if spec.stages else download_gb
        fetch = partial(download.fetch_pipeline, source, worker)
        async with aclosing(
            download.fetch_with_progress(source.id, label, fetch, size)
        ) as progress:
            async for loading in progress:
                yield loading
    for spec in dict.fromkeys(control.controlnet for control in job.controlnet_inputs):
        source = sources.locate(spec.source)
        if sources.find(source, spec.label) is None:
            fetch = partial(download.fetch_controlnet, source, worker)
            async with aclosing(
                download.fetch_with_progress(source.id, spec.label, fetch)
            ) as progress:
                async for loading in progress:
                    yield loading
    kinds = dict.fromkeys(job.loras, LORA) | dict.fromkeys(job.embeddings, EMBEDDING)
    for adapter, kind in kinds.items():
        if references.file_of(adapter, kind) is None:
            hub_id, file = references.hub_reference(adapter.source)
            fetch = partial(download.fetch_adapter, hub_id, file, kind)
            async with aclosing(
                download.fetch_with_progress(hub_id, adapter.name, fetch)
            ) as progress:
                async for loading in progress:
                    yield loading


def check_model(job: LocalJob) -> None:
    """Check what the files of the model hold, once they are there; nothing is loaded.

    Raises:
        BackendError: it is no model that can draw this job.
    """
    path = sources.complete_path(job.spec.source, job.spec.label)
    problem = contents.unsuitable(path, job.spec.label)
    if problem is None and job.init_image is None:
        layout = sources.locate(job.spec.config or job.spec.source)
        hub = layout.kind is sources.Kind.HUB
        folder = sources.snapshot(layout.id) if hub else layout.path
        problem = folder and contents.needs_start(folder, job.spec.label)
    if problem is not None:
        raise problem


async def _init_image(request: Request) -> InitImage | None:
    if request.image is None:
        return None
    size = (request.width or 512, request.height or 512)
    picture = await asyncio.to_thread(decoding.prepare_init_image, request.image, *size)
    return InitImage(picture=picture, strength=request.strength or STRENGTH)


async def _controlnet_inputs(
    model: Model, request: Request, dtype: str
) -> tuple[ControlNetInput, ...]:
    size = (request.width or 512, request.height or 512)
    return tuple([await _controlnet_input(model, each, size, dtype) for each in request.controls])


async def _controlnet_input(
    model: Model, control: Control, size: tuple[int, int], dtype: str
) -> ControlNetInput:
    if not 0 <= control.start < control.end <= 1:
        raise BadInput(
            "The control picture must start before it ends: give fractions of the steps, "
            "such as 0 and 0.8."
        )
    source = model.controls.get(control.preprocessor) or model.controls["*"]
    return ControlNetInput(
        controlnet=ModelSpec(source=source, label=f"the ControlNet of {model.label}", dtype=dtype),
        picture=await control_map(control, *size),
        weight=control.weight,
        start=control.start,
        end=control.end,
    )
