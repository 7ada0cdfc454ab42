"""Parse Midjourney's messages: queued, in progress, finished, declined, or unrelated.

Buttons and attachments decide, not the text: the text after the prompt has changed over the years
(it contains a link to the website since 2026), and unfinished pictures are attached too. A picture
made from an earlier grid (a variation, an upscale, a zoom) repeats that grid's prompt and seed, and
is marked `is_derived`.

Refusals are classified by one table, in which the first matching rule decides. Most refusals are
private to the person who pasted the command, and invisible to bots; the table has those that are
posted in the channel.
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
    """The state of a job."""

    QUEUED = "queued"
    PROGRESS = "progress"
    STOPPED = "stopped"
    DECLINED = "declined"
    GRID = "grid"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """The parts of a Midjourney message that are used here.

    `created_at` and `updated_at` are by Discord's clock. `embed_text` joins the titles and
    descriptions of its embeds, `embed_footer` their footers, which repeat the command. `button_ids`
    are the custom ids of its buttons, `attachment_url` the address of its first attachment,
    `parent_id` the id of the message that it replies to.
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
    """A parsed message; `job_id` is Midjourney's own id of the job."""

    message: Message
    kind: UpdateKind
    prompt: str | None = None
    percent: int = 0
    seed: int | None = None
    job_id: str | None = None
    speed: str | None = None
    is_derived: bool = False
    error: BackendError | None = None


def parse_message(message: Message) -> Update:
    """Parse a message into an update."""
    match = _PROMPT.search(message.content)
    head = message.content[: match.start()] if match else ""
    tail = match["tail"] if match else ""
    reply = message.embed_text or ("" if match else message.content)
    error = (
        None if _is_finished(message) else classify_refusal(reply, red=message.embed_colour == RED)
    )
    seed = _SEED.search(f"{message.content}\n{message.embed_text}\n{message.embed_footer}")
    speed = _SPEED.search(tail)
    return Update(
        message=message,
        kind=_classify(message, tail if match else None, reply, error),
        prompt=match["prompt"] if match else None,
        percent=_parse_percent(tail),
        seed=int(seed[1]) if seed else None,
        job_id=_find_job_id(message, tail),
        speed=speed[1] if speed else None,
        is_derived=bool(head.strip(" \n-") or _DERIVED.search(tail)),
        error=error,
    )


def _classify(
    message: Message, tail: str | None, reply: str, error: BackendError | None
) -> UpdateKind:
    if error is not None:
        return UpdateKind.DECLINED
    if tail is None:
        return UpdateKind.QUEUED if "job queued" in reply.lower() else UpdateKind.OTHER
    if _is_finished(message):
        return UpdateKind.GRID
    if "(Waiting to start)" in tail or "(paused)" in tail:
        return UpdateKind.QUEUED
    if _PERCENT.search(tail):
        return UpdateKind.PROGRESS
    return UpdateKind.STOPPED if "(Stopped)" in tail else UpdateKind.OTHER


def _is_finished(message: Message) -> bool:
    return message.attachment_url is not None and any(
        each.startswith(_UPSCALE_BUTTON) for each in message.button_ids
    )


def _parse_percent(tail: str) -> int:
    match = _PERCENT.search(tail)
    return min(int(match[1]), 100) if match else 0


def _find_job_id(message: Message, tail: str) -> str | None:
    match = next(filter(None, map(_JOB_ID.search, (*message.button_ids, tail))), None)
    return match[0] if match else None


RED = 0xFF0000
"""The colour of an embed that refuses; warnings are yellow or orange."""


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """`pattern` is searched for in the reply; `sentence` may contain {reason}."""

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


def classify_refusal(reply: str, *, red: bool) -> BackendError | None:
    """Return the error for a refusal, None if the reply is none.

    `reply` is the text of an embed, or of a message without a prompt; `red` is the embed's colour.
    """
    if not reply or "job queued" in reply.lower():
        return None
    rule = next(
        (rule for rule in REFUSAL_RULES if rule.pattern.search(reply)),
        _UNKNOWN_REFUSAL if red else None,
    )
    if rule is None:
        return None
    reason = redact(reply)
    reason = reason if reason.endswith((".", "!", "?", "…")) else f"{reason}."
    return rule.error(rule.sentence.format(reason=reason))
