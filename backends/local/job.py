"""What crosses into the worker: plain data, so that it can cross into another process too."""

from dataclasses import dataclass, field

from backends.base import Request


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """What to load and how; two equal recipes are one model in memory.

    `dtype` and `variant` are "" for what suits the device. `config` is the folder or Hub id of a
    model with the same layout, for single files. `offload` and `quantization` say where the
    weights lie and in how many bits (`placement.py`), `compile` whether the denoiser is compiled.
    `stages` are the sources of a cascade's further stages.
    """

    source: str
    label: str
    stages: tuple[str, ...] = ()
    dtype: str = ""
    variant: str = ""
    config: str = ""
    offload: str = ""
    quantization: str = ""
    compile: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlNetInput:
    """A ControlNet, its map (a PNG of the generation's size) and how strongly and when it acts.

    Several act at once; those of equal recipes are one ControlNet in memory.
    """

    controlnet: ModelSpec
    picture: bytes = field(repr=False)
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class InitImage:
    """The picture to start from (a PNG of the generation's size), and how much is drawn anew."""

    picture: bytes = field(repr=False)
    strength: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA with its weight, or an embedding with the word for it ("" is its own).

    `source` is an absolute path, or a Hub id with or without a file behind it.
    """

    name: str
    source: str
    weight: float = 1.0
    token: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalJob:
    """One request, fitted to its model. Picture i is drawn with `seed` + i.

    `stage_steps` and `stage_guidance_scale` are for the further stages of a cascade; 0 and None
    are what is usual. `truncation_rate` is for discrete diffusion: how much of each token's chances
    is left, the likeliest first; 1 is all.
    """

    spec: ModelSpec
    request: Request
    seed: int
    controlnet_inputs: tuple[ControlNetInput, ...] = ()
    init_image: InitImage | None = None
    stage_steps: int = 0
    stage_guidance_scale: float | None = None
    truncation_rate: float = 1.0
    scheduler: str = ""
    attention: str = ""
    step_cache: str = ""
    loras: tuple[Adapter, ...] = ()
    embeddings: tuple[Adapter, ...] = ()
    previews: bool = True
