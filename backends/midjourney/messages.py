"""What a message of Midjourney's says: queued, so far along, finished, declined, or not ours.

Buttons and attachments decide, not the text: the words after the prompt have changed over the
years (a link to the website stands there since 2026), and unfinished pictures are attached too.
What was made from an earlier grid (a variation, an upscale, a zoom) repeats that grid's prompt and
seed, and is `derived`.

What Midjourney answers instead of a picture, in one table; the first rule that fits decides.

Most such answers are private to the person who pasted the command, and no bot sees them. These
are the ones that do stand in the channel.
"""

import datetime
import re
from dataclasses import dataclass
from enum import StrEnum

from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    NoCredit,
    RateLimited,
    Refused,
    ServiceFault,
)
from backends.wording import redact

BOTS = frozenset({936929561302675456, 1022952195194359889})
"""The user ids of Midjourney's bot and of its Niji bot."""

_PROMPT = re.compile(r"\*\*(?P<prompt>.+)\*\*(?P<tail>.*)", re.DOTALL)
_PERCENT = re.compile(r"\((\d{1,3})%\)")
_SEED = re.compile(r"(?:--|—)seed\s+(\d{1,10})\b")
_DERIVED = re.compile(
    r"- Image #\d|Variations?\b|Zoom Out|Pan (?:Left|Right|Up|Down)|Upscaled|Remix"
)
_JOB = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b")
_MODE = re.compile(r"\((fast|relaxed|turbo)\b[^()]*\)\s*$")
_FINISHED = "MJ::JOB::upsample::"


class Kind(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    PROGRESS = "progress"
    STOPPED = "stopped"
    DECLINED = "declined"
    GRID = "grid"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message of Midjourney's, as far as it matters here.

    `created` and `at`, its last change, are by Discord's clock. `notice` is what its embeds say,
    `quoted` what stands below them: the command. `buttons` are their custom ids, `picture` its
    first attachment's address, `parent` the id of the message that it answers.
    """

    id: int
    created: datetime.datetime
    at: datetime.datetime
    content: str
    notice: str = ""
    quoted: str = ""
    colour: int | None = None
    buttons: tuple[str, ...] = ()
    picture: str | None = None
    parent: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What a post says about a job; `job` is Midjourney's own id of it."""

    post: Message
    kind: Kind
    prompt: str | None = None
    percent: int = 0
    seed: int | None = None
    job: str | None = None
    mode: str | None = None
    derived: bool = False
    error: BackendError | None = None


def parse_message(post: Message) -> Update:
    """Return what `post` says."""
    found = _PROMPT.search(post.content)
    head = post.content[: found.start()] if found else ""
    tail = found["tail"] if found else ""
    said = post.notice or ("" if found else post.content)
    error = None if _finished(post) else classify_refusal(said, red=post.colour == RED)
    seed = _SEED.search(f"{post.content}\n{post.notice}\n{post.quoted}")
    mode = _MODE.search(tail)
    return Update(
        post=post,
        kind=_kind(post, tail if found else None, said, error),
        prompt=found["prompt"] if found else None,
        percent=_percent(tail),
        seed=int(seed[1]) if seed else None,
        job=_job(post, tail),
        mode=mode[1] if mode else None,
        derived=bool(head.strip(" \n-") or _DERIVED.search(tail)),
        error=error,
    )


def _kind(post: Message, tail: str | None, said: str, error: BackendError | None) -> Kind:
    if error is not None:
        return Kind.DECLINED
    if tail is None:
        return Kind.QUEUED if "job queued" in said.lower() else Kind.OTHER
    if _finished(post):
        return Kind.GRID
    if "(Waiting to start)" in tail or "(paused)" in tail:
        return Kind.QUEUED
    if _PERCENT.search(tail):
        return Kind.PROGRESS
    return Kind.STOPPED if "(Stopped)" in tail else Kind.OTHER


def _finished(post: Message) -> bool:
    return post.picture is not None and any(each.startswith(_FINISHED) for each in post.buttons)


def _percent(tail: str) -> int:
    found = _PERCENT.search(tail)
    return min(int(found[1]), 100) if found else 0


def _job(post: Message, tail: str) -> str | None:
    found = next(filter(None, map(_JOB.search, (*post.buttons, tail))), None)
    return found[0] if found else None


RED = 0xFF0000
"""The colour of an embed that says no; warnings are yellow or orange."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`words` is looked for in the answer; `sentence` may use {reason}."""

    words: re.Pattern[str]
    kind: type[BackendError]
    sentence: str


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


RULES = (
    Rule(
        _words(r"banned prompt|image filter|moderat|community (?:standards|guidelines)"),
        Refused,
        "Midjourney declined the prompt or the picture in moderation. "
        "Change the prompt and try again.",
    ),
    Rule(
        _words(r"queue (?:is )?full|too many (?:jobs|requests)|maximum .{0,30}jobs"),
        RateLimited,
        "Your queue at Midjourney is full. Wait until a job of yours is done, then try again.",
    ),
    Rule(
        _words(
            r"subscri|out of (?:fast )?hours|credits? (?:exhausted|depleted)|no fast (?:time|hours)"
        ),
        NoCredit,
        "Your Midjourney subscription has nothing left for this. Look at midjourney.com/account, "
        "then try again.",
    ),
    Rule(
        _words(r"invalid|unrecogni[sz]ed|not compatible|unsupported|not supported"),
        BadInput,
        "Midjourney does not take this command: {reason}",
    ),
    Rule(
        _words(r"have been blocked|action (?:needed|required)|verify you"),
        Forbidden,
        "Midjourney wants something from you first: {reason} Look in Discord.",
    ),
    Rule(
        _words(r"^failed\b"),
        ServiceFault,
        "Midjourney failed: {reason} Look in Discord, then try again.",
    ),
)
_ANY_NO = Rule(_words(""), ServiceFault, "Midjourney did not draw this: {reason} Look in Discord.")


def classify_refusal(said: str, *, red: bool) -> BackendError | None:
    """Return what Midjourney says no to; None where it does not say no.

    `said` is the text of an embed, or of a message that repeats no prompt.
    """
    if not said or "job queued" in said.lower():
        return None
    rule = next((rule for rule in RULES if rule.words.search(said)), _ANY_NO if red else None)
    if rule is None:
        return None
    why = redact(said)
    why = why if why.endswith((".", "!", "?", "…")) else f"{why}."
    return rule.kind(rule.sentence.format(reason=why))
