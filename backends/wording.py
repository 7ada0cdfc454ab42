"""How a service's own words, and the wait that it names, stand in our sentences."""

from backends.http.client import reason

NO_REASON = "it gave no reason."


def sentence(said: str, *secrets: str | None) -> str:
    """Return a service's own words as the end of a sentence, made fit for a card.

    A page for a browser says nothing.
    """
    words = "" if said.lstrip().startswith("<") else reason(said, *secrets)
    if not words:
        return NO_REASON
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def when(wait: float | None, otherwise: str = "later") -> str:
    """Return when to try again: "in 5 s", or `otherwise` where no wait was named."""
    return otherwise if wait is None else f"in {max(1, round(wait))} s"
