"""Shared by the tests of the ComfyUI backend: a backend on a server, its events, workflows."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends.base import Config, Control, Event, Model, Picture, Receipt, Request
from backends.comfyui import ComfyUI
from tests.backends.comfyui.harness import MODEL
from tests.servers import pictures
from tests.servers.comfyui import ComfyUIServer

ASK = Request(prompt="a lighthouse", width=64, height=64, seed=7)
CONTROL = Control(image=pictures.plain(48, 32))
NOWHERE = Path("unused")


def named(source: str) -> Model:
    """Return a model for one checkpoint or workflow."""
    return replace(MODEL, id=f"comfyui/{source}", label=source, source=source)


def backend(url: str, home: Path = NOWHERE, **settings: str) -> ComfyUI:
    """Return a backend on the server at `url`."""
    return ComfyUI(Config(value={"COMFYUI_URL": url, **settings}.get, home=home))


async def events(
    server: ComfyUIServer,
    request: Request = ASK,
    model: Model = MODEL,
    home: Path = NOWHERE,
    **settings: str,
) -> list[Event]:
    """Return all events of one job."""
    drawer = backend(server.origin, home, **settings)
    try:
        return [event async for event in drawer.generate(model, request)]
    finally:
        await drawer.aclose()


def of(kind: type[Any], events: list[Event]) -> list[Any]:
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def pictures_of(events: list[Event]) -> list[Picture]:
    """Return the pictures among the events."""
    return of(Picture, events)


def receipt_of(events: list[Event]) -> Receipt:
    """Return the receipt, which is the last event and the only receipt."""
    (receipt,) = of(Receipt, events)
    assert events[-1] is receipt
    return receipt


def nodes(server: ComfyUIServer, number: int = 0) -> dict[str, dict[str, Any]]:
    """Return the inputs of a posted prompt's nodes by class; the last node of each class counts."""
    graph = server.asked("/prompt")[number].json["prompt"]
    return {node["class_type"]: node["inputs"] for node in graph.values()}


def keep(home: Path, name: str, graph: object) -> Model:
    """Save a workflow in Lineup's data folder; return its model."""
    folder = home / "workflows"
    folder.mkdir(parents=True, exist_ok=True)
    text = graph if isinstance(graph, str) else json.dumps(graph)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return named(name)


def workflow(**titles: str) -> dict[str, dict[str, Any]]:
    """Return a small text-to-image workflow; `titles` are titles of nodes by their ids below."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "checkpoint": (
            "CheckpointLoaderSimple",
            {"ckpt_name": "v1-5-pruned-emaonly.safetensors"},
        ),
        "prompt": ("CLIPTextEncode", {"text": "own words", "clip": ["checkpoint", 1]}),
        "negative": ("CLIPTextEncode", {"text": "own dislikes", "clip": ["checkpoint", 1]}),
        "size": ("EmptyLatentImage", {"width": 128, "height": 96, "batch_size": 1}),
        "sampler": (
            "KSampler",
            {
                "model": ["checkpoint", 0],
                "positive": ["prompt", 0],
                "negative": ["negative", 0],
                "latent_image": ["size", 0],
                "seed": 99,
                "steps": 12,
                "cfg": 5.5,
                "sampler_name": "ddim",
                "scheduler": "karras",
                "denoise": 1.0,
            },
        ),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["checkpoint", 2]}),
        "save": ("SaveImage", {"images": ["decode", 0], "filename_prefix": "own"}),
    }
    titles = {"prompt": "lineup: prompt", **titles}
    return {
        id: {"class_type": kind, "_meta": {"title": titles.get(id, kind)}, "inputs": inputs}
        for id, (kind, inputs) in nodes.items()
    }


async def cancel_when(drawer: ComfyUI, met: Callable[[], bool], request: Request = ASK) -> None:
    """Start a job and cancel it as soon as `met` returns True."""
    reading = asyncio.create_task(_drain(drawer.generate(MODEL, request)))
    assert await asyncio.to_thread(until, met)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await drawer.aclose()


def until(met: Callable[[], bool]) -> bool:
    """Wait until `met` returns True; return False after thirty seconds without it."""
    end = time.monotonic() + 30
    while not met() and time.monotonic() < end:
        time.sleep(0.01)
    return met()


async def _drain(events: AsyncGenerator[Event, None]) -> None:
    try:
        async for _ in events:
            pass
    finally:
        await events.aclose()
