"""Detect a control map with controlnet_aux; imported late, since it imports torch and OpenCV.

The detectors scale their input to multiples of 64 and scale the map again, which blurs thin lines
and changes the size (400x300 becomes 704x512). So the picture is first scaled to the working size,
then padded to multiples of 64 by repeating its border; for such a picture the detectors' own
scaling does nothing, and the padding is cropped afterwards.
"""

import threading
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import numpy as np
from PIL import Image

from backends.preprocessors import Preprocessor

with warnings.catch_warnings():  # one for every detector that lacks a package
    warnings.simplefilter("ignore")
    import controlnet_aux

_MULTIPLE: Final = 64
_RNG_LOCK: Final = threading.Lock()


def detect(
    preprocessor: Preprocessor,
    settings: Mapping[str, float | bool],
    picture: Image.Image,
    width: int,
    height: int,
) -> Image.Image:
    """Return the map of `picture`, width x height pixels."""
    working_size = preprocessor.working_size(width, height)
    scaled = np.asarray(picture.resize(working_size, Image.Resampling.LANCZOS, reducing_gap=2.0))
    right, below = (-side % _MULTIPLE for side in working_size)
    padded = np.pad(scaled, ((0, below), (0, right), (0, 0)), mode="edge")
    keywords: dict[str, Any] = dict(settings)
    seed = int(keywords.pop("seed", 0))
    keywords["detect_resolution"] = min(padded.shape[:2])
    if preprocessor.detector not in {"LineartStandardDetector", "TEEDdetector", "AnylineDetector"}:
        keywords["image_resolution"] = keywords["detect_resolution"]
    if preprocessor.detector == "ContentShuffleDetector":
        keywords["f"] = max(8, keywords["detect_resolution"] // 2)  # swirls grow with the picture
    with _seeded(seed):
        detected = _detector(preprocessor)(Image.fromarray(padded), output_type="pil", **keywords)
    cut = detected.convert("RGB").crop((0, 0, *working_size))
    return (
        cut
        if working_size == (width, height)
        else cut.resize((width, height), Image.Resampling.LANCZOS)
    )


@contextmanager
def _seeded(seed: int) -> Generator[None]:
    """Seed NumPy's global generator, which ContentShuffle uses, and restore its state."""
    with _RNG_LOCK:
        before = np.random.get_state()
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)


@lru_cache(maxsize=1)  # networks have hundreds of megabytes: cache the last one only
def _detector(preprocessor: Preprocessor) -> Callable[..., Image.Image]:
    kind: Any = getattr(controlnet_aux, preprocessor.detector)
    if not preprocessor.weights:
        return kind()
    names = ("pretrained_model_or_path", "filename", "subfolder")
    return kind.from_pretrained(**dict(zip(names, preprocessor.weights, strict=False)))
