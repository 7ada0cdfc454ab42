"""How a service's own words, and the wait that it names, stand in our sentences.

What a server has instead of something that it lacks, as a sentence.
"""

import difflib
import re
from collections.abc import Sequence

_SECRETS = re.compile(
    r"\b(?:sk|hf|r8|key)[-_][\w*.-]{3,}|\bAIza[\w-]{10,}|\bBearer\s+\S+", re.IGNORECASE
)
_PATHS = re.compile(r"(?<![\w:/.])(?:/[\w.-]+){2,}|\b[A-Za-z]:\\\S+")
_MARKUP = re.compile(r"<[^>]*>")
NO_REASON = "it gave no reason."


def service_message(said: str, *secrets: str | None) -> str:
    """Return a service's own words as the end of a sentence, made fit for a card.

    A page for a browser says nothing.
    """
    words = "" if said.lstrip().startswith("<") else redact(said, *secrets)
    if not words:
        return NO_REASON
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def retry_phrase(wait: float | None, otherwise: str = "later") -> str:
    """Return when to try again: "in 5 s", or `otherwise` where no wait was named."""
    return otherwise if wait is None else f"in {max(1, round(wait))} s"


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a sentence with those of `known` that look most like `name`."""
    if not known:
        return "It has none at all."
    lowered = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.3)
    listed = [lowered[each] for each in near] or list(known[:3])
    *most, last = listed
    return f"The nearest it has: {', '.join(most)} or {last}." if most else f"It has {last}."


def redact(text: str, *secrets: str | None) -> str:
    """Return a service's own words fit for a card: short, one line, no key, path or markup."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "(key)")
    text = _PATHS.sub("(path)", _SECRETS.sub("(key)", _MARKUP.sub(" ", text)))
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:299].rstrip()}…"


def list_models(names: Sequence[str]) -> str:
    """Return the sentence that names the models of a server, as far as they fit."""
    if not names:
        return "It names no models."
    shown, more = list(names[:4]), len(names) - 4
    if more > 0:
        shown.append(f"{more} more")
    *most, last = shown
    return f"It has {', '.join(most)} and {last}." if most else f"It has {last}."
