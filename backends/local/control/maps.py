"""Preprocess control pictures into the maps that ControlNets take.

A map always has the size of the generation. The table of preprocessors is plain data; code that
needs torch or controlnet_aux is in `detectors.py`, and is imported when a map is made.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from PIL import Image, ImageOps

from backends.base import Control, Value
from backends.errors import BadInput
from backends.images import decoding, encoding
from backends.local.errors import explain
from backends.preprocessors import PREPROCESSORS, Parameter, Preprocessor

__all__ = ["PREPROCESSORS", "Parameter", "Preprocessor", "control_map"]


_THREADS = ThreadPoolExecutor(2, thread_name_prefix="lineup-maps")
"""A few at a time: decoding a large picture takes hundreds of megabytes."""


async def control_map(control: Control, width: int, height: int) -> bytes:
    """Return the map of `control` as a PNG of width x height; equal input gives equal bytes.

    Raises:
        BackendError: the picture or a setting is invalid, or weights are not available.
    """
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, _draw_map, control, width, height)


def _draw_map(control: Control, width: int, height: int) -> bytes:
    preprocessor = PREPROCESSORS.get(control.preprocessor)
    if preprocessor is None:
        raise BadInput(
            f"There is no preprocessor '{control.preprocessor}'. Choose one of "
            f"{', '.join(PREPROCESSORS)}."
        )
    settings = _settings(preprocessor, control.parameters)
    enough = preprocessor.working_size(width, height)
    picture = decoding.read_image(control.image, enough=enough)
    if not preprocessor.detector:
        scaled = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return encoding.encode(ImageOps.invert(scaled) if preprocessor.name == "invert" else scaled)
    try:
        from backends.local.control.detectors import detect

        return encoding.encode(detect(preprocessor, settings, picture, width, height))
    except Exception as error:
        raise explain(error, f"the preprocessor {preprocessor.name}") from error


def _settings(
    preprocessor: Preprocessor, requested: Mapping[str, Value]
) -> dict[str, float | bool]:
    """Return the detector's keyword arguments, converted and clamped to their bounds."""
    # A form may still hold settings of another preprocessor; an unknown name is an error.
    known = {parameter.name for each in PREPROCESSORS.values() for parameter in each.parameters}
    unknown = sorted(set(requested) - known)
    if unknown:
        raise BadInput(f"No preprocessor has a setting '{unknown[0]}'.")
    settings: dict[str, float | bool] = {}
    for parameter in preprocessor.parameters:
        value = requested.get(parameter.name)
        kind = type(parameter.default)
        try:
            value = parameter.default if value is None else kind(value)
        except ValueError as error:
            raise BadInput(f"{parameter.label} must be a number, not '{value}'.") from error
        if parameter.least is not None and parameter.most is not None:
            value = kind(min(max(value, parameter.least), parameter.most))
        settings[parameter.keyword or parameter.name] = value
    return settings
