"""Build the control part of a request for Stability AI's two control endpoints.

The service computes the control map itself, so the user's picture is sent. "sketch" follows the
lines of a drawing, "structure" keeps the layout of any picture. The result has the size of the sent
picture, so that is resized to the requested size, as a map is for local models.
"""

from dataclasses import dataclass, field
from typing import Literal, cast

from backends.base import Applied, Control, Model, Request
from backends.errors import BadInput
from backends.fit import Fitted, closest_size

CONTROL = "control"
"""The catalogue's `source` of the model with control endpoints."""

MAX_ASPECT_RATIO = 2.5
Endpoint = Literal["sketch", "structure"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlRequest:
    """The endpoint, the strength of the control from 0 to 1, and the picture as PNG."""

    endpoint: Endpoint
    strength: float
    image: bytes = field(repr=False)


def build_control(
    model: Model, request: Request, fitted: Fitted, honoured: dict[str, Applied]
) -> ControlRequest:
    """Return the control part of `request`, and correct `honoured`; slow, call it in a thread.

    Raises:
        BadInput: there is no control picture, or it cannot be used.
    """
    name, control = next(iter(fitted.controls.items()), ("", None))
    if control is None:
        known = ", ".join(sorted(model.controls))
        raise BadInput(
            f"{model.label} draws after a control picture. Give it one, with a preprocessor that "
            f"it has a counterpart for: {known}."
        )
    endpoint = _endpoint(model, control)
    strength = min(max(control.weight, 0.0), 1.0)
    honoured[name] = Applied(control.preprocessor, endpoint, _note(control, strength))
    size_requested = bool(request.width or request.height)
    width, height = fitted.request.width or 0, fitted.request.height or 0
    image, size = _image(model, control.image, (width, height) if size_requested else None)
    honoured["size"] = Applied(honoured["size"].requested, size, honoured["size"].note)
    return ControlRequest(endpoint=endpoint, strength=strength, image=image)


def _endpoint(model: Model, control: Control) -> Endpoint:
    """Return the catalogue's endpoint for the preprocessor, "sketch" for rough strokes."""
    if control.parameters.get("scribble"):
        return "sketch"
    return cast(Endpoint, model.controls[control.preprocessor])


def _note(control: Control, strength: float) -> str:
    notes: list[str] = []
    if control.preprocessor != "none":
        notes.append(f"the picture itself was sent, not its {control.preprocessor} map")
    if strength != control.weight:
        notes.append(f"weight {strength:g} instead of {control.weight:g}")
    if (control.start, control.end) != (0.0, 1.0):
        notes.append("start and end ignored: the picture steers all the way")
    return "; ".join(notes)


def _image(model: Model, data: bytes, requested: tuple[int, int] | None) -> tuple[bytes, str]:
    """Return the upright picture as PNG, in the requested size or its own, and its size."""
    from PIL.Image import Resampling

    from backends.images import decoding, encoding

    picture = decoding.read_image(data)
    width, height = requested or _closest_own_size(model, *picture.size)
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise BadInput(
            f"A picture may be at most {MAX_ASPECT_RATIO:g} times as long as it is wide for "
            f"{model.label}, and this would be {width}x{height}. Crop it, or ask for another size."
        )
    if picture.size != (width, height):
        picture = picture.resize((width, height), Resampling.LANCZOS)
    return encoding.encode(picture), f"{width}x{height}"


def _closest_own_size(model: Model, width: int, height: int) -> tuple[int, int]:
    """Return the size in the picture's aspect ratio that the service accepts."""
    sizes = model.sizes
    scale = min(1.0, sizes.most / max(width, height))
    scale = max(scale, sizes.least / min(width, height))
    return closest_size(sizes, round(width * scale), round(height * scale))
