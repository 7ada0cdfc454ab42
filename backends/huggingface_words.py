"""What each provider calls a job's parameters, where the package does not know it.

`InferenceClient` has `width` and `height` for a picture that is drawn, and `target_size` for one
that is changed. It passes on to the provider what it cannot translate, and there it is ignored or
refused.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

Parameters: TypeAlias = Mapping[str, Any]

# Black Forest Labs' models on Replicate are asked for a shape; the pixels follow from it.
_SHAPES = ("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "9:16", "9:21")
_SHAPED = "black-forest-labs/"


def drawing(parameters: Parameters, provider: str, provider_id: str) -> dict[str, Any]:
    """Return `parameters` as `provider` knows them where it draws from text."""
    words = dict(parameters)
    if provider == "replicate" and provider_id.startswith(_SHAPED):
        return _shaped(words)
    if provider == "wavespeed":
        # Its models differ in whether they take this or the two numbers.
        words["size"] = f"{words['width']}*{words['height']}"
    return words


def editing(parameters: Parameters, provider: str, provider_id: str) -> dict[str, Any]:
    """Return `parameters` as `provider` knows them where it starts from a picture.

    Without a size each provider keeps to the picture's own, so none is sent then.
    """
    words = dict(parameters)
    if provider == "replicate" and provider_id.startswith(_SHAPED):
        return _shaped(words)
    width, height = words.pop("width"), words.pop("height")
    if width is None or height is None:
        return words
    match provider:
        case "together":
            words |= {"width": width, "height": height}
        case "wavespeed":
            words["size"] = f"{width}*{height}"
        case "replicate":
            pass  # its other models have no word in common; the card shows what came
        case _:
            words["target_size"] = {"width": width, "height": height}
    return words


def _shaped(words: dict[str, Any]) -> dict[str, Any]:
    width, height = words.pop("width"), words.pop("height")
    return words | {
        "aspect_ratio": width and height and _shape(width, height),
        "guidance": words.pop("guidance_scale"),
        "output_format": "png",  # else a lossy WebP
    }


def _shape(width: int, height: int) -> str:
    def distance(shape: str) -> float:
        across, _, down = shape.partition(":")
        ratio = width * int(down) / (height * int(across))
        return max(ratio, 1 / ratio)

    return min(_SHAPES, key=distance)
