"""A finished picture as a PNG that says how it was made; the same input gives the same bytes."""

import io

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from backends.base import Request


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
    request: Request, *, model: str, seed: int, scheduler: str, size: tuple[int, int]
) -> str:
    """The settings in the notation that began with the Stable Diffusion web UI."""
    lines = [request.prompt]
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
    }
    lines.append(
        ", ".join(f"{name}: {value}" for name, value in settings.items() if value not in (None, ""))
    )
    return "\n".join(lines)
