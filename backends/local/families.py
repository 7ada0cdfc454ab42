"""Which family a model belongs to, told from its files. A new family gets its line here."""

from pathlib import Path

from backends.local.family import Family
from backends.local.sources import class_of


def family_of(path: Path, label: str) -> Family:
    """The family of the folder or file at `path`; imports its classes.

    Raises:
        NotReady: it is of none.
    """
    match class_of(path):
        case "AmusedPipeline":
            from backends.local.masked import Masked

            return Masked()
        case "VQDiffusionPipeline":
            from backends.local.discrete import Discrete

            return Discrete()
        case "IFPipeline":
            from backends.local.cascade import PixelCascade

            return PixelCascade()
        case "janus":
            from backends.local.autoregressive import Autoregressive

            return Autoregressive()
        case _:  # a single file, or whatever diffusers itself knows what to do with
            from backends.local.latent import Latent
            from backends.local.soundness import known

            if path.is_dir():
                known(path, label)
            return Latent()
