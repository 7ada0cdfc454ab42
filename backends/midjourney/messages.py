"""What a message of Midjourney's says: queued, so far along, finished, declined, or not ours.

Buttons and attachments decide, not the text: the words after the prompt have changed over the
years (a link to the website stands there since 2026), and unfinished pictures are attached too.
What was made from an earlier grid (a variation, an upscale, a zoom) repeats that grid's prompt and
seed, and is `derived`.
"""

import datetime
import re
from dataclasses import dataclass
from enum import StrEnum

from backends.errors import BackendError
from backends.midjourney_verdicts import RED, verdict

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
class Post:
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
class Sighting:
    """What a post says about a job; `job` is Midjourney's own id of it."""

    post: Post
    kind: Kind
    prompt: str | None = None
    percent: int = 0
    seed: int | None = None
    job: str | None = None
    mode: str | None = None
    derived: bool = False
    error: BackendError | None = None


def read(post: Post) -> Sighting:
    """Return what `post` says."""
    found = _PROMPT.search(post.content)
    head = post.content[: found.start()] if found else ""
    tail = found["tail"] if found else ""
    said = post.notice or ("" if found else post.content)
    error = None if _finished(post) else verdict(said, red=post.colour == RED)
    seed = _SEED.search(f"{post.content}\n{post.notice}\n{post.quoted}")
    mode = _MODE.search(tail)
    return Sighting(
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


def _kind(post: Post, tail: str | None, said: str, error: BackendError | None) -> Kind:
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


def _finished(post: Post) -> bool:
    return post.picture is not None and any(each.startswith(_FINISHED) for each in post.buttons)


def _percent(tail: str) -> int:
    found = _PERCENT.search(tail)
    return min(int(found[1]), 100) if found else 0


def _job(post: Post, tail: str) -> str | None:
    found = next(filter(None, map(_JOB.search, (*post.buttons, tail))), None)
    return found[0] if found else None
