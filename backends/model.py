"""Entries of the model catalogue; the field names are the keys of `assets/models.toml`."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool | None


class State(StrEnum):
    """The stage of a model's life cycle."""

    LIVE = "live"
    RETIRING = "retiring"
    RETIRED = "retired"
    NO_API = "no public API"


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A model's state, the date of its (past or coming) retirement, and its successor."""

    state: State = State.LIVE
    date: datetime.date | None = None
    successor: str | None = None


class Basis(StrEnum):
    """The basis of a cost."""

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
    expected price of one such picture, for the estimate before a run.
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
    """The picture sizes that a model supports, in pixels.

    `native` lists (width, height), the default first. If `only_native` is False, any size works
    whose sides are multiples of `multiple` between `least` and `most`. If `assumed` is True, the
    default is a guess: the backend takes that of the model's own files where it can read them.
    """

    native: tuple[tuple[int, int], ...] = ((1024, 1024),)
    only_native: bool = False
    multiple: int = 8
    least: int = 64
    most: int = 2048
    assumed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One entry of the catalogue (`assets/models.toml`).

    `source` is the backend's name for the model: a Hub id, a folder, a file, an API's name.
    `supports` names the fields of `Request` that the model takes (`negative_prompt`, `seed`,
    `count`, `num_inference_steps`, `guidance_scale`, `controls`, `image`, `strength`); others are
    shown as not honoured. `defaults` holds the model's own values for those fields. `controls`
    maps a preprocessor to its ControlNet weights for this model ("*" for any preprocessor);
    `most_prompt` is the largest number of characters of a prompt, and `most_tokens` how many tokens
    of it the text encoder that reads most takes in, without the tokenizer's own marks; what comes
    after is lost. `most_controls` is the largest number of controls at once. `options` are
    settings for the backend. `sources` maps fields to the pages that their facts are from, if not
    `links["docs"]`.
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
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    status: Status = field(default_factory=Status)
    supports: frozenset[str] = frozenset()
    sizes: Sizes = field(default_factory=Sizes)
    most_count: int = 8
    most_prompt: int | None = None
    most_tokens: int | None = None
    defaults: Mapping[str, Value] = field(default_factory=dict[str, Value])
    controls: Mapping[str, str] = field(default_factory=dict[str, str])
    most_controls: int = 8
    options: Mapping[str, Value] = field(default_factory=dict[str, Value])
    price: Price = field(default_factory=lambda: Price(basis=Basis.FREE))
    note: str = ""

    @property
    def backend(self) -> str:
        """The backend's name: the part of the id before the slash, without a server's name."""
        return self.id.partition("/")[0].partition("@")[0]

    @property
    def service(self) -> str:
        """Whose key the model needs: "backend", or "backend@server"."""
        return self.id.partition("/")[0]

    @property
    def server(self) -> str:
        """The name of the user's server that runs it ("openai@NAME/..."), else ""."""
        return self.id.partition("/")[0].partition("@")[2]
