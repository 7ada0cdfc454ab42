"""Lineup's preprocessors in the words of the ControlNet extension, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from backends.base import Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Module:
    """One way to make a map on the server.

    `names` are what servers call it, `model` is a pattern for the names of the ControlNet models
    that want such maps. `first` and `second` name the parameters that the extension calls
    threshold_a and threshold_b, `flags` those that are part of the name.
    """

    names: tuple[str, ...]
    model: str
    first: str = ""
    second: str = ""
    flags: frozenset[str] = frozenset()


_INVERT: Final = "invert (from white bg & black line)"
_STANDARD: Final = "lineart_standard (from white bg & black line)"
_SOFT: Final = "softedge|hed"
_PENCIL: Final = "lineart(?!_anime)"


def _flags(*names: str) -> frozenset[str]:
    return frozenset(names)


# The first of a preprocessor's modules whose flags are all set is taken.
MODULES: Final[Mapping[str, tuple[Module, ...]]] = MappingProxyType(
    {
        "none": (Module(names=("none",), model="canny"),),
        "invert": (Module(names=(_INVERT, "invert"), model="scribble"),),
        "canny": (
            Module(names=("canny",), model="canny", first="low_threshold", second="high_threshold"),
        ),
        "shuffle": (Module(names=("shuffle",), model="shuffle"),),
        "lineart_standard": (Module(names=(_STANDARD, "lineart_standard"), model=_PENCIL),),
        "hed": (
            Module(names=("scribble_hed",), model="scribble", flags=_flags("scribble")),
            Module(names=("softedge_hedsafe", "hed_safe"), model=_SOFT, flags=_flags("safe")),
            Module(names=("softedge_hed", "hed"), model=_SOFT),
        ),
        "pidinet": (
            Module(names=("scribble_pidinet",), model="scribble", flags=_flags("scribble")),
            Module(names=("softedge_pidisafe",), model=_SOFT, flags=_flags("safe")),
            Module(names=("softedge_pidinet", "pidinet"), model=_SOFT),
        ),
        "lineart": (
            Module(names=("lineart_coarse",), model=_PENCIL, flags=_flags("coarse")),
            Module(names=("lineart_realistic", "lineart"), model=_PENCIL),
        ),
        "lineart_anime": (Module(names=("lineart_anime",), model="lineart_anime"),),
        "teed": (Module(names=("softedge_teed",), model=_SOFT),),
        "anyline": (Module(names=("softedge_anyline",), model=f"mistoline|{_PENCIL}"),),
        "mlsd": (Module(names=("mlsd",), model="mlsd", first="thr_v", second="thr_d"),),
        "midas": (Module(names=("depth_midas", "depth"), model="depth"),),
        "zoe": (Module(names=("depth_zoe",), model="depth"),),
        "leres": (Module(names=("depth_leres",), model="depth"),),
        "normalbae": (Module(names=("normal_bae", "normalbae"), model="normal"),),
        "openpose": (
            Module(
                names=("openpose_full",),
                model="pose",
                flags=_flags("include_hand", "include_face"),
            ),
            Module(names=("openpose_hand",), model="pose", flags=_flags("include_hand")),
            Module(names=("openpose_face",), model="pose", flags=_flags("include_face")),
            Module(names=("openpose",), model="pose"),
        ),
    }
)


def module_for(preprocessor: str, parameters: Mapping[str, Value]) -> Module:
    """Return the module for a preprocessor; a name of the server's own stands for itself."""
    for module in MODULES.get(preprocessor, ()):
        if all(parameters.get(flag) for flag in module.flags):
            return module
    return Module(names=(preprocessor,), model=preprocessor.partition("_")[0])
