"""On a GPU: models as large as the real ones, against the plain script in half precision.

For each size the script draws eagerly, as most scripts do; then Lineup draws the same requests as
it does by itself, and with its switches on. The ratio is pictures a second over the script's. The
detail says the peak of the device's memory, and how far the pictures are from the script's, from 0
to 255. Weights are random (`sizes.py`), since nothing is downloaded; FLUX's need 35 GB of disk.
"""

import asyncio
import gc
import io
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from PIL import Image

from backends.base import Config, Model, Picture, Request, Sizes, Value
from backends.local import Local
from tests.backends.local.tiny import models as tiny
from tests.bench.report import Line, show
from tests.bench.sizes import SIZES, Size

ROUNDS: Final = 5
PROMPT: Final = "a red circle left of a blue square"
WAYS: Final[dict[str, dict[str, Value]]] = {
    "by itself": {},
    "compiled": {"compile": True},
    "compiled, first block cache": {"compile": True, "step_cache": "first block"},
    "8 bit": {"quantization": "8 bit"},
    "4 bit": {"quantization": "4 bit"},
    "model offload": {"offload": "model"},
    "group offload": {"offload": "group"},
}


@dataclass(slots=True)
class Drawn:
    """What one way of drawing took: seconds a picture, the first apart, and gigabytes at most."""

    seconds: list[float] = field(default_factory=list[float])
    first: float = 0.0
    peak: float = 0.0
    pixels: Any = None
    notes: str = ""

    @property
    def usual(self) -> float:
        """The median of all but the first."""
        return statistics.median(self.seconds)


def script(folder: Path, size: Size, device: str, rounds: int) -> Drawn:
    """Load in half precision and draw eagerly."""
    pipeline: Any = DiffusionPipeline.from_pretrained(str(folder), dtype=torch.bfloat16)
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    drawn = Drawn()
    _begin(device)
    for turn in range(rounds + 1):
        began = time.monotonic()
        result = pipeline(
            PROMPT,
            width=size.side,
            height=size.side,
            num_inference_steps=size.steps,
            guidance_scale=size.guidance,
            generator=torch.Generator("cpu").manual_seed(5),
        )
        result.images[0].save(io.BytesIO(), "PNG")
        _book(drawn, turn, time.monotonic() - began)
        drawn.pixels = np.asarray(result.images[0]).astype(int)
    drawn.peak = _peak(device)
    return drawn


async def ours(
    model: Model, size: Size, options: dict[str, Value], device: str, rounds: int
) -> Drawn:
    """Draw the same through the backend."""
    settings = {"LINEUP_DEVICE": device}
    local = Local(Config(value=settings.get, home=Path(model.source)))
    request = Request(
        prompt=PROMPT,
        seed=5,
        num_inference_steps=size.steps,
        guidance_scale=size.guidance,
        options={"local": options},
    )
    drawn = Drawn()
    _begin(device)
    for turn in range(rounds + 1):
        began = time.monotonic()
        async for event in local.generate(model, request):
            if isinstance(event, Picture):
                drawn.pixels = np.asarray(Image.open(io.BytesIO(event.data))).astype(int)
        _book(drawn, turn, time.monotonic() - began)
    drawn.peak = _peak(device)
    await local.aclose()
    return drawn


async def measure(folder: Path, size: Size, device: str, rounds: int = ROUNDS) -> list[Line]:
    """Everything about one size, whose pipeline lies in `folder`."""
    model = tiny.model(
        folder,
        label=size.name,
        sizes=Sizes(native=((size.side, size.side),), only_native=True),
        options={"torch_dtype": "bfloat16"},
    )
    plain = await asyncio.to_thread(script, folder, size, device, rounds)
    gc.collect()
    lines: list[Line] = []
    for name, options in WAYS.items():
        try:
            drawn = await ours(model, size, options, device, rounds)
        except Exception as error:  # one way that cannot be had here leaves the others
            print(f"{size.name}, {name}: {error}", flush=True)
            continue
        far = np.abs(drawn.pixels - plain.pixels)
        detail = (
            f"{1 / drawn.usual:.2f} a second, first {drawn.first:.0f} s, peak {drawn.peak:.1f} GB "
            f"(script {plain.peak:.1f}), pixels {far.mean():.1f} off, {far.max()} at most"
        )
        lines.append(Line(f"{size.name}, {name} ÷ script", plain.usual / drawn.usual, None, detail))
    return lines


def main() -> list[Line]:
    """Measure and return the lines for the report; without a GPU, say so."""
    if not torch.cuda.is_available():
        print("There is no GPU here: skipped. On one, SD 1.5, SDXL and FLUX sizes are measured.")
        return []
    lines: list[Line] = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            pipeline = size.make("cuda", torch.bfloat16)
            pipeline.save_pretrained(folder)
            del pipeline
            gc.collect()
            torch.cuda.empty_cache()
            lines += asyncio.run(measure(Path(folder), size, "cuda"))
    return lines


def _begin(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else 0.0


def _book(drawn: Drawn, turn: int, seconds: float) -> None:
    if turn:
        drawn.seconds.append(seconds)
    else:
        drawn.first = seconds


if __name__ == "__main__":
    show(main())
