"""The contract between Lineup and the backends that generate pictures.

The main method of a backend is `generate`: it takes a `Model` and a `Request` and yields events
until all pictures are finished. Parameters have the names that diffusers gives them
(`num_inference_steps`, `guidance_scale`, `negative_prompt`, `seed`).

    Queued     waiting in a server's queue or for a person, not in Lineup's own lane
    Loading    weights are being read or downloaded
    Sending    the next step may cost money
    Progress   drawing has begun; with a `step` or a preview: that is done
    Picture    one finished picture, its bytes unchanged
    Receipt    usage, times and applied settings; at most once, after the last picture

Models are compared by the seconds of drawing. What precedes the first event is preparation, such as
the import of a client library, and counts as load; where that lasts, yield `Loading` before it and
`Progress()` as soon as the drawing begins. `Sending` begins the drawing too.

`Sending` is a promise: the consumer commits "sent" to the store before it requests the next
event, and a backend must not send its request before that. Closing the generator cancels the job:
the backend stops its work, on the server too where the API allows it.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
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
from backends.prompt_length import PromptLength, estimate
from backends.prompt_syntax import Syntax


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A conditioning picture for ControlNet and similar methods.

    `image` holds the bytes of the user's file; `preprocessor` names the control map to compute
    from it ("none" if the picture is a map already); `start` and `end` are fractions of the steps.
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
    """Waiting in a service's queue, or for a person to submit `command` there by hand.

    `take` accepts the finished picture from that person if it cannot be fetched otherwise.
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
    """The request is sent as soon as the next event is requested."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Drawing is under way: step `step` of `steps` is done (None if that is not known)."""

    step: int | None = None
    steps: int | None = None
    preview: Preview | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One finished picture: its unchanged, checked bytes, and the facts of its header."""

    data: bytes = field(repr=False)
    width: int
    height: int
    media_type: str
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """One input as requested and as used; `note` is "" if both are the same."""

    requested: Value
    used: Value
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """Usage, times and applied settings of a finished job.

    `usage` holds the counters of the price rule (`text_input`, `image_output`, ... tokens).
    `charged` is the exact amount in USD if the service reports one. `load` and `generate` are
    seconds measured by the backend, where it knows them better than the order of its events tells;
    `load` is counted from the first event on, and `queued` are seconds in the service's queue that
    no event told of. `cached` is true if the
    service returned an earlier picture, so that no time says anything about its speed. `monthly`
    is the price of a subscription in USD a month, of which the job bears its share.
    `may_owe_more` says that a missing picture may have been billed too, which `usage` does not
    count.
    """

    honoured: Mapping[str, Applied] = field(default_factory=dict[str, Applied])
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    charged: Decimal | None = None
    queued: float | None = None
    load: float | None = None
    generate: float | None = None
    download: float | None = None
    cached: bool = False
    monthly: Decimal | None = None
    may_owe_more: bool = False


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
    """A model's readiness and, if it is not ready, a sentence that says what to do."""

    state: Readiness
    sentence: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The configuration of a backend.

    `value` reads a setting by the name of its environment variable and returns None if it is
    unset; keys are read through it at each use and stored nowhere else. `home` is Lineup's data
    folder. `attended` is true if a person at the page can upload a picture (`Queued.take`).
    `visitors` is true at a public address: the owner's servers are then used only if `has_key` says
    that the owner has set a key for them. A server without one would do for every visitor, with
    any key that they make up, what its owner keeps for themselves.
    """

    value: Callable[[str], str | None] = field(repr=False)
    home: Path
    attended: bool = False
    visitors: bool = False
    has_key: Callable[[str], bool] = field(default=bool, repr=False)


@dataclass(frozen=True, slots=True)
class Key:
    """A required setting of a backend: its name, and a page that explains how to obtain it."""

    setting: str
    where: str


@dataclass(frozen=True, slots=True)
class Service:
    """A service behind a backend: `server` names one of several, "" is the default one."""

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
    """One system that generates pictures; `keys` lists its required settings, the key first.

    `syntax` are the notations in prompts that it understands; all others are plain words to it.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    Options: ClassVar[type | None] = None
    keys: ClassVar[tuple[Key, ...]] = ()
    syntax: ClassVar[frozenset[Syntax]] = frozenset()

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def ready(self, model: Model) -> Ready:
        """Return whether `model` could run, without a network call or a heavy import."""

    def price(self, model: Model) -> Price:
        """Return the price rule of `model`: the catalogue's, unless a setting replaces it."""
        return model.price

    def prompt_length(self, model: Model, prompt: str) -> PromptLength:
        """Return how many tokens `prompt` has for `model`: estimated, unless a backend knows.

        May read a file: call it in a thread.
        """
        return estimate(prompt)

    def warm(self) -> None:
        """Start slow preparations in the background, before the first picture needs them.

        Called when a page shows one of the backend's models as chosen. Costs nothing and sends
        nothing.
        """
        return

    @classmethod
    def services(cls, config: Config) -> tuple[Service, ...]:
        """Return the backend's services: one, unless the settings name more."""
        return (Service("", cls.label, cls.keys),)

    @classmethod
    def user_models(cls, config: Config) -> UserModels:
        """Return the user's own models; asked only of the backends in `WITH_USER_MODELS`.

        Raises:
            NotReady: `read` raises it where a setting that lists models cannot be read.
        """
        return UserModels()

    async def option_values(self) -> Mapping[str, Sequence[str]]:
        """Return the values known for options whose `choices` are not fixed, by the option's name.

        They are offered in the form, for example the samplers of a server. Costs nothing. Options
        without known values are left out.

        Raises:
            BackendError: the service can't be reached.
        """
        return {}

    async def check(self, server: str = "") -> str:
        """Check a key with its service, and return a sentence that confirms it.

        Returns "" if the check would cost money or is not supported.

        Raises:
            BackendError: the key is rejected or missing, or the service can't be reached.
        """
        return ""

    @abstractmethod
    def lane(self, model: Model) -> Lane:
        """Return the lane that `model` runs in."""

    @abstractmethod
    def generate(self, model: Model, request: Request) -> AsyncGenerator[Event, None]:
        """Generate `request` with `model`; raises `BackendError` and nothing else."""

    async def aclose(self) -> None:
        """Release connections and memory; does nothing by default."""
        return
