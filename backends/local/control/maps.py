"""Control pictures: from what the user gave to the map that a ControlNet will see.

A map always has the size of the generation. The table of preprocessors is plain data; what needs
torch or controlnet_aux is in `detect.py`, and is imported when a map is made.
"""

import asyncio
from collections.abc import Mapping

from PIL import Image, ImageOps

from backends.base import Control, Value
from backends.errors import BadInput
from backends.images import decoding, encoding
from backends.local.errors import explain
from backends.preprocessors import PREPROCESSORS, Parameter, Preprocessor

__all__ = ["PREPROCESSORS", "Parameter", "Preprocessor", "control_map"]


async def control_map(control: Control, width: int, height: int) -> bytes:
    """Return the map of `control` as a PNG of width x height; the same input, the same bytes.

    Raises:
        BackendError: the picture or a setting is of no use, or weights cannot be had.
    """
    return await asyncio.to_thread(_make, control, width, height)


def _make(control: Control, width: int, height: int) -> bytes:
    preprocessor = PREPROCESSORS.get(control.preprocessor)
    if preprocessor is None:
        raise BadInput(
            f"There is no preprocessor '{control.preprocessor}'. Choose one of "
            f"{', '.join(PREPROCESSORS)}."
        )
    settings = _settings(preprocessor, control.parameters)
    picture = decoding.read_image(control.image)
    if not preprocessor.detector:
        drawn = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return encoding.encode(ImageOps.invert(drawn) if preprocessor.name == "invert" else drawn)
    try:
        from backends.local.control.detectors import detect

        return encoding.encode(detect(preprocessor, settings, picture, width, height))
    except Exception as error:
        raise explain(error, f"the preprocessor {preprocessor.name}") from error


def _settings(preprocessor: Preprocessor, asked: Mapping[str, Value]) -> dict[str, float | bool]:
    """The library's keywords with their values, within bounds and of the right kind."""
    # A form may still hold what was set for another preprocessor; a name of none is a mistake.
    known = {parameter.name for each in PREPROCESSORS.values() for parameter in each.parameters}
    unknown = sorted(set(asked) - known)
    if unknown:
        raise BadInput(f"No preprocessor has a setting '{unknown[0]}'.")
    settings: dict[str, float | bool] = {}
    for parameter in preprocessor.parameters:
        value = asked.get(parameter.name)
        kind = type(parameter.default)
        try:
            value = parameter.default if value is None else kind(value)
        except ValueError as error:
            raise BadInput(f"{parameter.label} must be a number, not '{value}'.") from error
        if parameter.least is not None and parameter.most is not None:
            value = kind(min(max(value, parameter.least), parameter.most))
        settings[parameter.keyword or parameter.name] = value
    return settings
