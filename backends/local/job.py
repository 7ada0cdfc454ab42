"""Plain data that a worker receives; it can be pickled, so it can cross into another process."""

from dataclasses import dataclass, field

from backends.base import Request


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """Which model to load and how; equal specs share one model in memory.

    `dtype` and `variant` are "" for the device's defaults. `config` is the folder or Hub id of a
    model with the same layout, for single files. `offload` and `quantization` choose where the
    weights are kept and in how many bits (`memory/offload.py`), `compile` whether the denoiser is
    compiled. `stages` are the sources of a cascade's further stages. `version` tells the state of
    the files (`weights/sources.py`); the worker fills it in, once they are there.
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
    version: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """All sources that the model is made of."""
        return tuple(filter(None, (self.source, *self.stages, self.config)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlNetInput:
    """A ControlNet, its map (a PNG of the generation's size), weight, and span of the steps.

    A job may have several; equal specs share one ControlNet in memory.
    """

    controlnet: ModelSpec
    picture: bytes = field(repr=False)
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class InitImage:
    """The initial picture (a PNG of the generation's size) and the strength, from 0 to 1."""

    picture: bytes = field(repr=False)
    strength: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA with its weight, or an embedding with its token ("" for the one in the file).

    `source` is an absolute path, or a Hub id with or without a file behind it. `text_weight` is
    the weight in the text encoder, None if it is the same as in the denoiser.
    """

    name: str
    source: str
    weight: float = 1.0
    token: str = ""
    text_weight: float | None = None

    @property
    def written(self) -> str:
        """A LoRA's name with its weight or weights, as it is named in a prompt's tag."""
        text = "" if self.text_weight is None else f":{self.text_weight:g}"
        return f"{self.name}{text}:{self.weight:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalJob:
    """One request, fitted to its model. Picture i is drawn with `seed` + i.

    `stage_steps` and `stage_guidance_scale` are for the further stages of a cascade; 0 and None
    stand for the defaults. `truncation_rate` is for discrete diffusion: the probability mass of
    the most likely tokens that may be sampled; 1 is all.
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
