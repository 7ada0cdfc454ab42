"""Build parts of error sentences: a service's message, the time to retry, and available names."""

import difflib
import re
from collections.abc import Sequence

_SECRETS = re.compile(
    r"\b(?:sk|hf|r8|key)[-_][\w*.-]{3,}|\bAIza[\w-]{10,}|\bBearer\s+\S+", re.IGNORECASE
)
_ROUTES = r"/(?:v\d\w*|api|openai|sdapi|internal|images/\w+s|chat/completions)(?![\w.-])"
"""The beginning of an API's route, which is no file's path."""
_PATHS = re.compile(rf"(?<![\w:/.])(?!{_ROUTES})(?:/[\w.-]+){{2,}}|\b[A-Za-z]:\\\S+")
_MARKUP = re.compile(r"<[^<>]*>")
_MAX_READ = 20_000
"""Characters of a service's message that are looked at; 300 of them are shown."""
NO_REASON = "it gave no reason."


def service_message(message: str, *secrets: str | None) -> str:
    """Return a service's error message, redacted, as the end of a sentence.

    An empty message, or an HTML page, gives `NO_REASON`.
    """
    reason = "" if message.lstrip().startswith("<") else redact(message, *secrets)
    if not reason:
        return NO_REASON
    return reason if reason.endswith((".", "!", "?", "…")) else f"{reason}."


def retry_phrase(wait: float | None, otherwise: str = "later") -> str:
    """Return when to try again: "in 5 s", or `otherwise` if the service states no wait."""
    return otherwise if wait is None else f"in {max(1, round(wait))} s"


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a sentence with up to three of `known` that resemble `name` most."""
    if not known:
        return "It has none at all."
    lowered = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.3)
    listed = [lowered[each] for each in near] or list(known[:3])
    *most, last = listed
    return f"The nearest it has: {', '.join(most)} or {last}." if most else f"It has {last}."


def redact(text: str, *secrets: str | None) -> str:
    """Return `text` in one line of at most 300 characters, without keys, file paths and markup."""
    text = text[:_MAX_READ]
    for secret in filter(None, secrets):
        text = text.replace(secret, "(key)")
    text = _PATHS.sub("(path)", _SECRETS.sub("(key)", _MARKUP.sub(" ", text)))
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:299].rstrip()}…"


def list_models(names: Sequence[str]) -> str:
    """Return a sentence with the first four of a server's models and the number of the others."""
    if not names:
        return "It names no models."
    shown, more = list(names[:4]), len(names) - 4
    if more > 0:
        shown.append(f"{more} more")
    *most, last = shown
    return f"It has {', '.join(most)} and {last}." if most else f"It has {last}."
