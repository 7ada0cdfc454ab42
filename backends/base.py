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

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, TypeAlias

from backends.model import Basis as Basis
from backends.model import Model as Model
from backends.model import Price as Price
from backends.model import Sizes as Sizes
from backends.model import State as State
from backends.model import Status as Status
from backends.model import Value as Value


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
    """The parameters of one generation, shared by all backends. None means the model's default.

    `image` is an encoded picture to start from instead of noise (image-to-image); `strength` is
    the fraction of it that is drawn anew, from 0.01 to 1. All `controls` apply at once, each with
    its own weight and range of steps. `options` maps a backend's name to its own options.
    """

    prompt: str
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    count: int = 1
    controls: tuple[Control, ...] = ()
    image: bytes | None = field(default=None, repr=False)
    strength: float | None = None
    options: Mapping[str, Mapping[str, Value]] = field(
        default_factory=dict[str, Mapping[str, Value]]
    )


@dataclass(frozen=True, slots=True)
class Preview:
    """An unfinished picture, small, encoded."""

    data: bytes = field(repr=False)
    media_type: str = "image/jpeg"


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """Waiting in somebody else's queue, or for a person to carry `command` there.

    `take` accepts the finished picture from that person, where nothing else brings it here.
    """

    message: str = ""
    command: str = ""
    take: Callable[[bytes], None] | None = field(default=None, repr=False)


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
class Applied:
    """What became of one input: `note` is "" when it was taken as asked."""

    requested: Value
    used: Value
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What a finished job used and took.

    `usage` counts what the price rule needs (`text_input`, `image_output`, ... tokens).
    `charged` is the exact amount in USD where the service itself says it. `load` and `generate`
    are seconds that the backend measured itself, None where it cannot tell them apart. `cached`
    says that the service had a picture from an earlier time, so that no seconds tell its speed.
    `monthly` is what a subscription costs a month in USD, of which the job has its share.
    """

    honoured: Mapping[str, Applied] = field(default_factory=dict[str, Applied])
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    charged: Decimal | None = None
    load: float | None = None
    generate: float | None = None
    download: float | None = None
    cached: bool = False
    monthly: Decimal | None = None


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
    `attended` says whether a person sits before it who can bring a picture (`Queued.take`).
    """

    value: Callable[[str], str | None] = field(repr=False)
    home: Path
    attended: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """What must be set for a backend: the setting's name, and a page that says where it is had."""

    setting: str
    where: str


@dataclass(frozen=True, slots=True)
class Service:
    """Who is asked with a backend: `server` names one of several, "" is the only or usual one."""

    server: str
    label: str
    keys: tuple[Key, ...]


FindModel: TypeAlias = Callable[[str], Model]
"""Returns the catalogue's entry for an id, from its `[[any]]` tables if none is listed."""


def _no_models(find: FindModel) -> Iterable[Model]:
    return ()


@dataclass(frozen=True, slots=True)
class UserModels:
    """Models that settings or the data folder add to the catalogue.

    `version` is cheap to compute and differs whenever the models may have changed. `read` returns
    the models, each of them made from the catalogue's entry for its id.
    """

    version: object = None
    read: Callable[[FindModel], Iterable[Model]] = _no_models


class Backend(ABC):
    """One system that draws pictures; `keys` lists what must be set for it, the key first."""

    name: ClassVar[str]
    label: ClassVar[str]
    Options: ClassVar[type | None] = None
    keys: ClassVar[tuple[Key, ...]] = ()

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def ready(self, model: Model) -> Ready:
        """Say whether `model` could run, without a network call or a heavy import."""

    def warm(self) -> None:
        """Get slow things going in the background that the first picture would wait for.

        Called when a page shows one of the backend's models as chosen; costs nothing and sends
        nothing.
        """
        return

    @classmethod
    def services(cls, config: Config) -> tuple[Service, ...]:
        """Return who can be asked: one service, unless the settings name more."""
        return (Service("", cls.label, cls.keys),)

    @classmethod
    def user_models(cls, config: Config) -> UserModels:
        """Return the user's own models; asked only of the backends in `WITH_USER_MODELS`.

        Raises:
            NotReady: `read` raises it where a setting that lists models cannot be read.
        """
        return UserModels()

    async def check(self, server: str = "") -> str:
        """Ask a service whether it accepts the key; "" where that would cost or can't be done.

        What is returned is the sentence that says so.

        Raises:
            BackendError: it does not, there is no key, or the service can't be reached.
        """
        return ""

    @abstractmethod
    def lane(self, model: Model) -> Lane:
        """The lane that `model` runs in."""

    @abstractmethod
    def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Draw `request` with `model`; raises `BackendError` and nothing else."""

    async def aclose(self) -> None:
        """Let go of connections and memory; a backend that holds none has nothing to do."""
        return
