"""The control preprocessors as plain data, so that a form can list them without importing torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_ANNOTATORS: Final = "lllyasviel/Annotators"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A parameter of a preprocessor, with bounds unless it is a boolean.

    `keyword` is its name in controlnet_aux where that differs from `name`.
    """

    name: str
    label: str
    default: int | float | bool
    least: float | None = None
    most: float | None = None
    keyword: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessor:
    """A method to compute a control map from a picture.

    `download` names the files and the size of the first use's download ("" for none). `detector`
    is the class in controlnet_aux, `weights` the arguments of its `from_pretrained`. `side` is the
    minimum length in pixels of the input's shorter side, regardless of the generated size.
    """

    name: str
    label: str
    parameters: tuple[Parameter, ...] = ()
    download: str = ""
    detector: str = ""
    weights: tuple[str, ...] = ()
    side: int = 0

    def working_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size at which the detector works for a map of width x height pixels."""
        zoom = max(1.0, self.side / min(width, height))
        return round(width * zoom), round(height * zoom)


def _network(
    name: str,
    label: str,
    detector: str,
    download: str,
    *parameters: Parameter,
    weights: tuple[str, ...] = (_ANNOTATORS,),
) -> Preprocessor:
    return Preprocessor(
        name=name,
        label=label,
        detector=detector,
        download=download,
        parameters=parameters,
        weights=weights,
        side=512,
    )


_SAFE: Final = Parameter(name="safe", label="Fewer grey levels", default=False)
_SCRIBBLE: Final = Parameter(name="scribble", label="Rough strokes", default=False)

# The download sizes are rounded; they change when the authors replace a file.
_ALL: Final = (
    Preprocessor(name="none", label="None: the picture is the map"),
    Preprocessor(name="invert", label="Invert: dark strokes on white become light on black"),
    Preprocessor(
        name="canny",
        label="Canny: edges",
        detector="CannyDetector",
        parameters=(
            Parameter(
                name="low_threshold", label="Weak edges from", default=100, least=0, most=255
            ),
            Parameter(
                name="high_threshold", label="Strong edges from", default=200, least=0, most=255
            ),
        ),
    ),
    Preprocessor(
        name="shuffle",
        label="Content shuffle: colours without shapes",
        detector="ContentShuffleDetector",
        parameters=(
            Parameter(name="seed", label="Seed of the shuffle", default=0, least=0, most=2**32 - 1),
        ),
    ),
    Preprocessor(
        name="lineart_standard",
        label="Line art, standard",
        detector="LineartStandardDetector",
        parameters=(
            Parameter(
                name="gaussian_sigma",
                label="Width of the blur",
                default=6.0,
                least=0.5,
                most=20.0,
                keyword="guassian_sigma",  # spelled so in controlnet_aux
            ),
            Parameter(
                name="intensity_threshold", label="Least intensity", default=8, least=0, most=16
            ),
        ),
    ),
    _network("hed", "HED: soft edges", "HEDdetector", "ControlNetHED.pth, 29 MB", _SAFE, _SCRIBBLE),
    _network(
        "pidinet",
        "PiDiNet: soft edges",
        "PidiNetDetector",
        "table5_pidinet.pth, 3 MB",
        _SAFE,
        _SCRIBBLE,
    ),
    _network(
        "lineart",
        "Line art",
        "LineartDetector",
        "sk_model.pth and sk_model2.pth, 34 MB",
        Parameter(name="coarse", label="Coarse lines", default=False),
    ),
    _network("lineart_anime", "Line art, anime", "LineartAnimeDetector", "netG.pth, 218 MB"),
    _network(
        "teed",
        "TEED: thin edges",
        "TEEDdetector",
        "5_model.pth, under 1 MB",
        weights=("fal-ai/teed", "5_model.pth"),
    ),
    _network(
        "anyline",
        "AnyLine: lines",
        "AnylineDetector",
        "MTEED.pth, under 1 MB",
        weights=("TheMistoAI/MistoLine", "MTEED.pth", "Anyline"),
    ),
    _network(
        "mlsd",
        "M-LSD: straight lines",
        "MLSDdetector",
        "mlsd_large_512_fp32.pth, 6 MB",
        Parameter(name="thr_v", label="Least score", default=0.1, least=0.01, most=2.0),
        Parameter(name="thr_d", label="Least length", default=0.1, least=0.01, most=20.0),
    ),
    _network("midas", "MiDaS: depth", "MidasDetector", "dpt_hybrid-midas-501f0c75.pt, 493 MB"),
    _network("zoe", "ZoeDepth: depth", "ZoeDetector", "ZoeD_M12_N.pt, 1.4 GB"),
    _network("leres", "LeReS: depth", "LeresDetector", "res101.pth and latest_net_G.pth, 850 MB"),
    _network("normalbae", "Normals", "NormalBaeDetector", "scannet.pt, 291 MB"),
    _network(
        "openpose",
        "OpenPose: people",
        "OpenposeDetector",
        "body_pose_model.pth, hand_pose_model.pth and facenet.pth, 510 MB",
        Parameter(name="include_hand", label="Hands", default=False),
        Parameter(name="include_face", label="Faces", default=False),
    ),
)
PREPROCESSORS: Final[Mapping[str, Preprocessor]] = MappingProxyType(
    {preprocessor.name: preprocessor for preprocessor in _ALL}
)
