"""The seam between Lineup and everything that draws pictures.

A backend is one class with one method that matters: `generate` takes a `Model` and a `Request`
and yields events until the pictures are there. The words are those of diffusers where diffusers
has a word (`num_inference_steps`, `guidance_scale`, `negative_prompt`, `seed`).

    Queued     waiting for something other than our own lane (a server's queue, a person)
    Loading    weights are being read or downloaded
    Sending    the next thing that happens may cost money
    Progress   a step was done; perhaps with a preview
    Picture    one finished picture, its bytes exactly as they came
    Receipt    what was used, what was honoured; at most once, after the last picture

`Sending` is a promise: the consumer commits "sent" to its ledger before it asks for the next
event, and a backend must not let the request leave before it is asked. Closing the generator is
cancel: the backend stops its work, on the server too where the API can.
"""

import datetime
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, TypeAlias

Value: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A conditioning picture for ControlNet and its kin.

    `image` holds the picture's bytes as the user gave them; `preprocessor` names the map to make
    of it ("none" when the picture already is one); `start` and `end` are fractions of the steps.
    """

    image: bytes = field(repr=False)
    preprocessor: str = "canny"
    parameters: Mapping[str, Value] = field(default_factory=dict[str, Value])
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asked for, in words that every backend shares. None means "the model's own"."""

    prompt: str
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    count: int = 1
    control: Control | None = None
    options: Mapping[str, Mapping[str, Value]] = field(
        default_factory=dict[str, Mapping[str, Value]]
    )


class State(StrEnum):
    """Where a model stands in its life."""

    LIVE = "live"
    RETIRING = "retiring"
    RETIRED = "retired"
    NO_API = "no public API"


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A model's state, since or until when, and what came after it."""

    state: State = State.LIVE
    date: datetime.date | None = None
    successor: str | None = None


class Basis(StrEnum):
    """What a cost rests on."""

    USAGE = "usage"
    PRICE_LIST = "price list"
    SUBSCRIPTION = "subscription"
    HARDWARE = "hardware"
    FREE = "free"


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """A price rule, in USD, with its source and date.

    `per_image` is a flat price. `per_token` maps a usage counter (`text_input`, `image_input`,
    `image_output`) to the price of one. `estimates` maps "quality WxH" or "quality" to the
    price that one picture of that kind is expected to have, for the time before the run.
    """

    basis: Basis
    per_image: Decimal | None = None
    per_megapixel: Decimal | None = None
    per_token: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    estimates: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    source: str = ""
    priced_on: datetime.date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """The sizes that a model can make, in pixels.

    `native` lists (width, height), the first is the default. Where `only_native` is False any
    size works whose sides are multiples of `multiple` and lie within `least` and `most`.
    """

    native: tuple[tuple[int, int], ...] = ((1024, 1024),)
    only_native: bool = False
    multiple: int = 8
    least: int = 64
    most: int = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One entry of the catalogue (`assets/models.toml`).

    `source` is what the backend calls the model: a Hub id, a folder, a file, an API's name.
    `supports` names the Request's fields that it takes (`negative_prompt`, `seed`, `count`,
    `num_inference_steps`, `guidance_scale`, `control`); what is absent is shown as not honoured.
    `defaults` holds the model's own values for those fields. `controls` maps a preprocessor to
    the ControlNet weights that belong to it ("*" for any). `options` are settings for its backend.
    """

    id: str
    label: str
    family: str
    source: str
    provider: str = "this machine"
    licence: str = "unknown"
    released: datetime.date | None = None
    training_data: str | None = None
    compute: str | None = None
    parameters: str | None = None
    download_gb: float | None = None
    links: Mapping[str, str] = field(default_factory=dict[str, str])
    status: Status = field(default_factory=Status)
    supports: frozenset[str] = frozenset()
    sizes: Sizes = field(default_factory=Sizes)
    most_count: int = 8
    most_prompt: int | None = None
    defaults: Mapping[str, Value] = field(default_factory=dict[str, Value])
    controls: Mapping[str, str] = field(default_factory=dict[str, str])
    options: Mapping[str, Value] = field(default_factory=dict[str, Value])
    price: Price = field(default_factory=lambda: Price(basis=Basis.FREE))
    note: str = ""

    @property
    def backend(self) -> str:
        """The part of the id before the slash: who draws it."""
        return self.id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Preview:
    """An unfinished picture, small, encoded."""

    data: bytes = field(repr=False)
    media_type: str = "image/jpeg"


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """Waiting in somebody else's queue."""

    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """Weights are being read or downloaded; `message` says which."""

    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sending:
    """The request leaves as soon as the next event is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Step `step` of `steps` was done (None where the system does not say)."""

    step: int | None = None
    steps: int | None = None
    preview: Preview | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One finished picture: bytes as they came, checked, and what its header says."""

    data: bytes = field(repr=False)
    width: int
    height: int
    media_type: str
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Honour:
    """What became of one input: `note` is "" when it was taken as asked."""

    asked: Value
    used: Value
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What a finished job used and took.

    `usage` counts what the price rule needs (`text_input`, `image_output`, ... tokens).
    `charged` is the exact amount in USD where the service itself says it. `load` and `generate`
    are seconds that the backend measured itself, None where it cannot tell them apart.
    """

    honoured: Mapping[str, Honour] = field(default_factory=dict[str, Honour])
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    charged: Decimal | None = None
    load: float | None = None
    generate: float | None = None
    download: float | None = None


Event: TypeAlias = Queued | Loading | Sending | Progress | Picture | Receipt


@dataclass(frozen=True, slots=True)
class Lane:
    """Jobs of one lane run at most `width` at a time; lanes never wait for each other."""

    name: str
    width: int


class Readiness(StrEnum):
    """Whether a model can run now."""

    READY = "ready"
    NEEDS_KEY = "needs a key"
    NEEDS_PACKAGE = "not installed"
    NEEDS_DOWNLOAD = "downloads first"
    UNAVAILABLE = "not available"


@dataclass(frozen=True, slots=True)
class Ready:
    """A model's readiness and, where it is not ready, the sentence that says what to do."""

    state: Readiness
    sentence: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What a backend may know of its surroundings.

    `value` reads a setting by its environment variable's name and returns None when it is unset;
    keys come through it and are never held anywhere else. `home` is Lineup's data folder.
    """

    value: Callable[[str], str | None] = field(repr=False)
    home: Path


class Backend(ABC):
    """One system that draws pictures."""

    name: ClassVar[str]
    label: ClassVar[str]
    Options: ClassVar[type | None] = None

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def ready(self, model: Model) -> Ready:
        """Say whether `model` could run, without a network call or a heavy import."""

    @abstractmethod
    def lane(self, model: Model) -> Lane:
        """The lane that `model` runs in."""

    @abstractmethod
    def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Draw `request` with `model`; raises `BackendError` and nothing else."""

    async def aclose(self) -> None:
        """Let go of connections and memory; a backend that holds none has nothing to do."""
        return
