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

BOT_IDS = frozenset({936929561302675456, 1022952195194359889})
"""The user ids of Midjourney's bot and of its Niji bot."""

_PROMPT = re.compile(r"\*\*(?P<prompt>.+)\*\*(?P<tail>.*)", re.DOTALL)
_PERCENT = re.compile(r"\((\d{1,3})%\)")
_SEED = re.compile(r"(?:--|—)seed\s+(\d{1,10})\b")
_DERIVED = re.compile(
    r"- Image #\d|Variations?\b|Zoom Out|Pan (?:Left|Right|Up|Down)|Upscaled|Remix"
)
_JOB_ID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b")
_SPEED = re.compile(r"\((fast|relaxed|turbo)\b[^()]*\)\s*$")
_UPSCALE_BUTTON = "MJ::JOB::upsample::"


class UpdateKind(StrEnum):
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
    created_at: datetime.datetime
    updated_at: datetime.datetime
    content: str
    embed_text: str = ""
    embed_footer: str = ""
    embed_colour: int | None = None
    button_ids: tuple[str, ...] = ()
    attachment_url: str | None = None
    parent_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What a post says about a job; `job` is Midjourney's own id of it."""

    message: Message
    kind: UpdateKind
    prompt: str | None = None
    percent: int = 0
    seed: int | None = None
    job_id: str | None = None
    speed: str | None = None
    is_derived: bool = False
    error: BackendError | None = None


def parse_message(post: Message) -> Update:
    """Return what `post` says."""
    found = _PROMPT.search(post.content)
    head = post.content[: found.start()] if found else ""
    tail = found["tail"] if found else ""
    said = post.embed_text or ("" if found else post.content)
    error = None if _is_finished(post) else classify_refusal(said, red=post.embed_colour == RED)
    seed = _SEED.search(f"{post.content}\n{post.embed_text}\n{post.embed_footer}")
    mode = _SPEED.search(tail)
    return Update(
        message=post,
        kind=_classify(post, tail if found else None, said, error),
        prompt=found["prompt"] if found else None,
        percent=_parse_percent(tail),
        seed=int(seed[1]) if seed else None,
        job_id=_find_job_id(post, tail),
        speed=mode[1] if mode else None,
        is_derived=bool(head.strip(" \n-") or _DERIVED.search(tail)),
        error=error,
    )


def _classify(post: Message, tail: str | None, said: str, error: BackendError | None) -> UpdateKind:
    if error is not None:
        return UpdateKind.DECLINED
    if tail is None:
        return UpdateKind.QUEUED if "job queued" in said.lower() else UpdateKind.OTHER
    if _is_finished(post):
        return UpdateKind.GRID
    if "(Waiting to start)" in tail or "(paused)" in tail:
        return UpdateKind.QUEUED
    if _PERCENT.search(tail):
        return UpdateKind.PROGRESS
    return UpdateKind.STOPPED if "(Stopped)" in tail else UpdateKind.OTHER


def _is_finished(post: Message) -> bool:
    return post.attachment_url is not None and any(
        each.startswith(_UPSCALE_BUTTON) for each in post.button_ids
    )


def _parse_percent(tail: str) -> int:
    found = _PERCENT.search(tail)
    return min(int(found[1]), 100) if found else 0


def _find_job_id(post: Message, tail: str) -> str | None:
    found = next(filter(None, map(_JOB_ID.search, (*post.button_ids, tail))), None)
    return found[0] if found else None


RED = 0xFF0000
"""The colour of an embed that says no; warnings are yellow or orange."""


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """`words` is looked for in the answer; `sentence` may use {reason}."""

    pattern: re.Pattern[str]
    error: type[BackendError]
    sentence: str


def _ignore_case(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


REFUSAL_RULES = (
    RefusalRule(
        _ignore_case(r"banned prompt|image filter|moderat|community (?:standards|guidelines)"),
        Refused,
        "Midjourney declined the prompt or the picture in moderation. "
        "Change the prompt and try again.",
    ),
    RefusalRule(
        _ignore_case(r"queue (?:is )?full|too many (?:jobs|requests)|maximum .{0,30}jobs"),
        RateLimited,
        "Your queue at Midjourney is full. Wait until a job of yours is done, then try again.",
    ),
    RefusalRule(
        _ignore_case(
            r"subscri|out of (?:fast )?hours|credits? (?:exhausted|depleted)|no fast (?:time|hours)"
        ),
        NoCredit,
        "Your Midjourney subscription has nothing left for this. Look at midjourney.com/account, "
        "then try again.",
    ),
    RefusalRule(
        _ignore_case(r"invalid|unrecogni[sz]ed|not compatible|unsupported|not supported"),
        BadInput,
        "Midjourney does not take this command: {reason}",
    ),
    RefusalRule(
        _ignore_case(r"have been blocked|action (?:needed|required)|verify you"),
        Forbidden,
        "Midjourney wants something from you first: {reason} Look in Discord.",
    ),
    RefusalRule(
        _ignore_case(r"^failed\b"),
        ServiceFault,
        "Midjourney failed: {reason} Look in Discord, then try again.",
    ),
)
_UNKNOWN_REFUSAL = RefusalRule(
    _ignore_case(""), ServiceFault, "Midjourney did not draw this: {reason} Look in Discord."
)


def classify_refusal(said: str, *, red: bool) -> BackendError | None:
    """Return what Midjourney says no to; None where it does not say no.

    `said` is the text of an embed, or of a message that repeats no prompt.
    """
    if not said or "job queued" in said.lower():
        return None
    rule = next(
        (rule for rule in REFUSAL_RULES if rule.pattern.search(said)),
        _UNKNOWN_REFUSAL if red else None,
    )
    if rule is None:
        return None
    why = redact(said)
    why = why if why.endswith((".", "!", "?", "…")) else f"{why}."
    return rule.error(rule.sentence.format(reason=why))
