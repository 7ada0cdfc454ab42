"""A finished picture as a PNG that says how it was made; the same input gives the same bytes."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from backends.base import Request


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA as such a text names it; `hash` is the beginning of the SHA-256 of its tensors."""

    name: str
    weight: float
    hash: str


def encode(picture: Image, text: str = "") -> bytes:
    """Return `picture` as PNG, with `text` under the key that other programs read."""
    info = PngInfo()
    if text:
        info.add_text("parameters", text)
    out = io.BytesIO()
    # Level 1: a tenth of the default's time for a file that is a few per cent larger.
    picture.save(out, "PNG", compress_level=1, pnginfo=info)
    return out.getvalue()


def recipe(
    request: Request,
    *,
    model: str,
    seed: int,
    scheduler: str,
    size: tuple[int, int],
    loras: Sequence[Lora] = (),
    embeddings: Sequence[str] = (),
) -> str:
    """The settings in the notation that began with the Stable Diffusion web UI."""
    tags = (f"<lora:{lora.name}:{lora.weight:g}>" for lora in loras)
    lines = [" ".join((request.prompt, *tags))]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    settings = {
        "Steps": request.num_inference_steps,
        "Sampler": scheduler,
        "CFG scale": request.guidance_scale,
        "Denoising strength": request.strength,
        "Seed": seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": model,
        "Lora hashes": _quoted(f"{lora.name}: {lora.hash}" for lora in loras),
        "Embeddings": _quoted(embeddings),
    }
    lines.append(
        ", ".join(f"{name}: {value}" for name, value in settings.items() if value not in (None, ""))
    )
    return "\n".join(lines)


def _quoted(words: Iterable[str]) -> str | None:
    listed = ", ".join(words)
    return f'"{listed}"' if listed else None
