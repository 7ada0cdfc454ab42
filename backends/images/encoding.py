"""Encode a picture as a PNG with its generation parameters; equal input gives equal bytes."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from backends.base import Request


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA in the parameters.

    `written` is its name with its weights, `hash` the beginning of the SHA-256 of its tensors.
    """

    name: str
    written: str
    hash: str


def encode(picture: Image, text: str = "") -> bytes:
    """Return `picture` as a PNG with `text` in the text chunk "parameters", as other UIs do."""
    info = PngInfo()
    if text:
        info.add_text("parameters", text)
    out = io.BytesIO()
    # Level 1 takes a tenth of the default level's time for a file a few per cent larger.
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
    """Return the generation parameters in the notation of the Stable Diffusion web UI."""
    tags = (f"<lora:{lora.written}>" for lora in loras)
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
