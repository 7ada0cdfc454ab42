"""What is asked of OpenAI's image API: the options, the account, the parameters of one call."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from backends.base import Config, Honour, Model, Request, Status
from backends.errors import BadInput, MissingKey, NotReady, RetiredModel, WrongKey
from backends.fit import fit
from backends.http_failures import place

HOME = "https://api.openai.com/v1"
QUALITIES = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of this backend alone; the form is drawn from the fields."""

    quality: str = field(
        default="low",
        metadata={
            "label": "Quality",
            "choices": ("auto", *QUALITIES),
            "help": "More quality takes longer and costs more. Not every model has xhigh and max.",
        },
    )
    background: str = field(
        default="auto",
        metadata={
            "label": "Background",
            "choices": ("auto", "opaque", "transparent"),
            "help": "Transparent needs PNG or WebP.",
        },
    )
    output_format: str = field(
        default="png",
        metadata={
            "label": "File format",
            "choices": ("png", "jpeg", "webp"),
            "help": "JPEG and WebP are smaller and arrive sooner.",
        },
    )
    moderation: str = field(
        default="auto",
        metadata={
            "label": "Moderation",
            "choices": ("auto", "low"),
            "help": "How strictly OpenAI filters; low is less restrictive.",
        },
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Where requests go and who pays; read anew for each job, kept by nobody."""

    base_url: str
    key: str | None = field(repr=False)
    organisation: str | None
    project: str | None

    @classmethod
    def of(cls, config: Config) -> "Account":
        """Read the account from the settings."""
        return cls(
            base_url=_setting(config, "OPENAI_BASE_URL") or HOME,
            key=_setting(config, "OPENAI_API_KEY"),
            organisation=_setting(config, "OPENAI_ORG_ID"),
            project=_setting(config, "OPENAI_PROJECT_ID"),
        )

    @property
    def official(self) -> bool:
        """Whether this is OpenAI's own API, a region's included."""
        host = place(self.base_url).partition(":")[0]
        return host == "api.openai.com" or host.endswith(".api.openai.com")

    @property
    def service(self) -> str:
        """Who answers, as a sentence begins."""
        return "OpenAI" if self.official else f"The server at {place(self.base_url)}"

    def check(self) -> None:
        """Raise what keeps any request from being sent."""
        if not self.base_url.startswith(("http://", "https://")) or not place(self.base_url):
            raise NotReady("OPENAI_BASE_URL must be an address like http://localhost:8080/v1.")
        if self.key is None and self.official:
            raise MissingKey("OpenAI needs a key: set OPENAI_API_KEY.")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable()):
            raise WrongKey("OPENAI_API_KEY holds characters that no key has. Copy it again.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call: its parameters, how many partial pictures it asks for, what was honoured."""

    parameters: Mapping[str, Any]
    partials: int
    honoured: dict[str, Honour]


def new_call(model: Model, request: Request) -> Call:
    """Put `request` into the API's words.

    Raises:
        BadInput: the service would not take it.
    """
    options, ignored = _options(model, request)
    negative = request.negative_prompt.strip()
    prompt = request.prompt
    if prompt.strip() and negative:
        prompt = f"{prompt.rstrip()}\n\nAvoid: {negative}"
    fitted = fit(model, replace(request, prompt=prompt))
    honoured = fitted.honoured | ignored
    if negative:
        note = "negative prompt folded into the prompt"
        honoured["negative_prompt"] = Honour(request.negative_prompt, negative, note)
    if options.background == "transparent" and options.output_format == "jpeg":
        raise BadInput("A JPEG cannot be transparent. Choose PNG or WebP, or another background.")
    parameters: dict[str, Any] = {
        "model": model.source,
        "prompt": prompt,
        "size": f"{fitted.request.width}x{fitted.request.height}",
    }
    if quality := _quality(model, options.quality):
        parameters["quality"] = quality.used
        honoured["quality"] = quality
    elif "quality" in request.options.get("openai", {}):
        note = f"quality ignored: {model.label} takes none"
        honoured["quality"] = Honour(options.quality, None, note)
    # A compatible server may know none of these: what is the default anyway is not said.
    for option in fields(Options):
        value = getattr(options, option.name)
        if option.name != "quality" and value != option.default:
            parameters[option.name] = value
            honoured[option.name] = Honour(value, value)
    if fitted.request.count > 1:
        parameters["n"] = fitted.request.count
    partials = int(model.options.get("partials", 2) or 0)
    return Call(
        parameters=parameters,
        partials=partials if fitted.request.count == 1 else 0,
        honoured=honoured,
    )


def gone(model: Model) -> RetiredModel:
    """Say since when a retired model is gone, and what to use now."""
    return RetiredModel(f"{model.label} {_since(model.status)}")


def _since(status: Status) -> str:
    when = f" on {status.date.day} {status.date:%B %Y}" if status.date else ""
    then = f" Use {status.successor} instead." if status.successor else ""
    return f"was shut down{when}.{then}"


def _setting(config: Config, name: str) -> str | None:
    return (config.value(name) or "").strip() or None


def _options(model: Model, request: Request) -> tuple[Options, dict[str, Honour]]:
    chosen: dict[str, Any] = {}
    if "quality" in model.options:
        chosen["quality"] = model.options["quality"]
    ignored: dict[str, Honour] = {}
    known = {option.name: option for option in fields(Options)}
    for name, value in request.options.get("openai", {}).items():
        if name not in known:
            ignored[name] = Honour(value, None, f"{name} ignored: OpenAI has no such option")
        elif value not in (None, ""):
            choices = known[name].metadata["choices"]
            if value not in choices:
                raise BadInput(f"{name} must be one of {', '.join(choices)}; not {value}.")
            chosen[name] = value
    return Options(**chosen), ignored


def _quality(model: Model, asked: str) -> Honour | None:
    """The model's nearest quality: the best it has where more is asked for."""
    listed = str(model.options.get("qualities") or "").replace(" ", "").split(",")
    has = [quality for quality in QUALITIES if quality in listed]
    if not has:
        return None
    if asked == "auto" or asked in has:
        return Honour(asked, asked)
    below = [quality for quality in has if QUALITIES.index(quality) < QUALITIES.index(asked)]
    used = below[-1] if below else has[0]
    return Honour(asked, used, f"quality {used} instead of {asked}")
