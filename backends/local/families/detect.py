"""Detect the family of a model from its files; the classes of each family are imported late."""

from pathlib import Path

from backends.local.families.base import Family
from backends.local.weights.sources import class_of


def detect_family(path: Path, label: str) -> Family:
    """Return the family of the folder or file at `path`.

    Raises:
        NotReady: the model belongs to no supported family.
    """
    match class_of(path):
        case "AmusedPipeline":
            from backends.local.families.masked import Masked

            return Masked()
        case "VQDiffusionPipeline":
            from backends.local.families.discrete import Discrete

            return Discrete()
        case "IFPipeline":
            from backends.local.families.cascade import PixelCascade

            return PixelCascade()
        case "janus":
            from backends.local.families.autoregressive import Autoregressive

            return Autoregressive()
        case _:  # a single file, or any other pipeline of diffusers
            from backends.local.families.latent import Latent
            from backends.local.weights.validation import check_class

            if path.is_dir():
                check_class(path, label)
            return Latent()
