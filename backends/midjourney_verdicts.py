"""What Midjourney answers instead of a picture, in one table; the first rule that fits decides.

Most such answers are private to the person who pasted the command, and no bot sees them. These
are the ones that do stand in the channel.
"""

import re
from dataclasses import dataclass

from backends.errors import (
    BackendError,
    BadInput,
    Forbidden,
    NoCredit,
    RateLimited,
    Refused,
    ServiceFault,
)
from backends.http.client import reason

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


def verdict(said: str, *, red: bool) -> BackendError | None:
    """Return what Midjourney says no to; None where it does not say no.

    `said` is the text of an embed, or of a message that repeats no prompt.
    """
    if not said or "job queued" in said.lower():
        return None
    rule = next((rule for rule in RULES if rule.words.search(said)), _ANY_NO if red else None)
    if rule is None:
        return None
    why = reason(said)
    why = why if why.endswith((".", "!", "?", "…")) else f"{why}."
    return rule.kind(rule.sentence.format(reason=why))
