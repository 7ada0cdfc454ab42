"""What happens before the worker's turn: settings are checked, maps made, weights fetched."""

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
from backends.local.adapters.references import EMBEDDING, LORA, AdapterFolders
from backends.local.control.maps import control_map
from backends.local.job import ControlNetInput, InitImage, LocalJob, ModelSpec
from backends.local.options import Options
from backends.local.weights import sources

if TYPE_CHECKING:
    from backends.local.worker import DeviceWorker

_MOST_SEED = 2**63 - 1


async def build_job(
    model: Model, request: Request, asked: Mapping[str, Value], seed: int, shelves: AdapterFolders
) -> LocalJob:
    """Turn a fitted request into work; `asked` holds the user's options for this backend."""
    if not 0 <= seed <= _MOST_SEED - request.count:
        raise BadInput(f"The seed must be a whole number from 0 to {_MOST_SEED:,}.")
    own = {field.name for field in fields(Options)}  # where weights come from is not a user's say
    chosen = {
        name: value for name, value in asked.items() if name in own and value not in ("", None)
    }
    options = {**model.options, **chosen}

    def text(name: str) -> str:
        return str(options.get(name) or "")

    single = sources.locate(model.source).single
    prompt, tags = references.tagged(request.prompt)
    named = "\n".join((text("loras"), tags))
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
        controlnet_inputs=await _steerings(model, request, text("torch_dtype")),
        init_image=await _start(request),
        stage_steps=int(options.get("stage_steps") or 0),
        stage_guidance_scale=None if guidance is None else float(guidance),
        truncation_rate=float(options.get("truncation_rate") or 1.0),
        scheduler=text("scheduler"),
        attention=text("attention"),
        step_cache=text("step_cache"),
        loras=await asyncio.to_thread(references.loras, named, shelves.loras),
        embeddings=await asyncio.to_thread(
            references.embeddings, text("embeddings"), shelves.embeddings
        ),
        previews=bool(options.get("previews", True)),
    )


def stages(model: Model) -> tuple[str, ...]:
    """The sources of a cascade's further stages: `stages` in its options, with commas between."""
    named = str(model.options.get("stages") or "").split(",")
    return tuple(source.strip() for source in named if source.strip())


async def missing_weights(
    work: LocalJob, machine: "DeviceWorker", download_gb: float | None
) -> AsyncGenerator[Loading, None]:
    """Fetch what is not here yet, and say so."""
    recipe = work.spec
    for number, source in enumerate(map(sources.locate, (recipe.source, *recipe.stages)), start=1):
        if sources.find(source, recipe.label) is not None:
            continue
        what = f"stage {number} of {recipe.label}" if recipe.stages else recipe.label
        size = None if recipe.stages else download_gb
        fetching = partial(download.pipeline, source, machine)
        async with aclosing(download.fetched(source.id, what, fetching, size)) as news:
            async for loading in news:
                yield loading
    for recipe in dict.fromkeys(steering.controlnet for steering in work.controlnet_inputs):
        source = sources.locate(recipe.source)
        if sources.find(source, recipe.label) is None:
            fetching = partial(download.controlnet, source, machine)
            async with aclosing(download.fetched(source.id, recipe.label, fetching)) as news:
                async for loading in news:
                    yield loading
    nouns = dict.fromkeys(work.loras, LORA) | dict.fromkeys(work.embeddings, EMBEDDING)
    for adapter, noun in nouns.items():
        if references.file_of(adapter, noun) is None:
            hub_id, file = references.hub_reference(adapter.source)
            fetching = partial(download.adapter, hub_id, file, noun)
            async with aclosing(download.fetched(hub_id, adapter.name, fetching)) as news:
                async for loading in news:
                    yield loading


async def _start(request: Request) -> InitImage | None:
    if request.image is None:
        return None
    size = (request.width or 512, request.height or 512)
    picture = await asyncio.to_thread(decoding.prepare_init_image, request.image, *size)
    return InitImage(picture=picture, strength=request.strength or STRENGTH)


async def _steerings(model: Model, request: Request, dtype: str) -> tuple[ControlNetInput, ...]:
    size = (request.width or 512, request.height or 512)
    return tuple([await _steering(model, each, size, dtype) for each in request.controls])


async def _steering(
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
