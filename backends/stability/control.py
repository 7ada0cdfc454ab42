"""The control picture for Stability AI: its two ways of being steered, and what is sent.

The service makes its own map: the user's picture itself is sent. "sketch" follows the lines of a
drawing, "structure" keeps the layout of any picture. The result gets the size of what is sent, so
the picture is given the wished size, as a map is on this machine.
"""

from dataclasses import dataclass, field
from typing import Literal, cast

from backends.base import Applied, Control, Model, Request
from backends.errors import BadInput
from backends.fit import Fitted, closest_size

CONTROL = "control"
"""What the catalogue calls the service that is steered by a picture (`source`)."""

MOST_RATIO = 2.5
Way = Literal["sketch", "structure"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlRequest:
    """What is sent: the way, how much the picture counts (0 to 1), and the picture as PNG."""

    way: Way
    strength: float
    image: bytes = field(repr=False)


def build_control(
    model: Model, request: Request, fitted: Fitted, honoured: dict[str, Applied]
) -> ControlRequest:
    """Return the control picture of `request` as the service takes it; slow.

    Raises:
        BadInput: there is none, or it cannot be used.
    """
    name, control = next(iter(fitted.controls.items()), ("", None))
    if control is None:
        known = ", ".join(sorted(model.controls))
        raise BadInput(
            f"{model.label} draws after a control picture. Give it one, with a preprocessor that "
            f"it has a counterpart for: {known}."
        )
    way = _way(model, control)
    strength = min(max(control.weight, 0.0), 1.0)
    honoured[name] = Applied(control.preprocessor, way, _note(control, strength))
    asked = fitted.request
    wished = (asked.width or 0, asked.height or 0) if request.width or request.height else None
    image, size = _image(model, control.image, wished)
    honoured["size"] = Applied(honoured["size"].requested, size, honoured["size"].note)
    return ControlRequest(way=way, strength=strength, image=image)


def _way(model: Model, control: Control) -> Way:
    """The catalogue's way for the preprocessor; rough strokes are a sketch whoever made them."""
    if control.parameters.get("scribble"):
        return "sketch"
    return cast(Way, model.controls[control.preprocessor])


def _note(control: Control, strength: float) -> str:
    notes: list[str] = []
    if control.preprocessor != "none":
        notes.append(f"the picture itself was sent, not its {control.preprocessor} map")
    if strength != control.weight:
        notes.append(f"weight {strength:g} instead of {control.weight:g}")
    if (control.start, control.end) != (0.0, 1.0):
        notes.append("start and end ignored: the picture steers all the way")
    return "; ".join(notes)


def _image(model: Model, data: bytes, wished: tuple[int, int] | None) -> tuple[bytes, str]:
    """Return the picture upright, in the wished size or its own, and that size in words."""
    from PIL.Image import Resampling

    from backends.images import decoding, encoding

    picture = decoding.read_image(data)
    width, height = wished or _within(model, *picture.size)
    if max(width, height) > MOST_RATIO * min(width, height):
        raise BadInput(
            f"A picture may be at most {MOST_RATIO:g} times as long as it is wide for "
            f"{model.label}, and this would be {width}x{height}. Crop it, or ask for another size."
        )
    if picture.size != (width, height):
        picture = picture.resize((width, height), Resampling.LANCZOS)
    return encoding.encode(picture), f"{width}x{height}"


def _within(model: Model, width: int, height: int) -> tuple[int, int]:
    """The size that the service takes and that has the picture's shape."""
    sizes = model.sizes
    scale = min(1.0, sizes.most / max(width, height))
    scale = max(scale, sizes.least / min(width, height))
    return closest_size(sizes, round(width * scale), round(height * scale))
