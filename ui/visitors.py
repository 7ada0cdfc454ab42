"""Who a request comes from: a random token in a cookie of the browser.

The token itself is never stored. Its SHA-256 is the visitor's id, which a run keeps as the one who
started it, so that nobody who reads the database can act as a visitor.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final

COOKIE: Final = "lineup_visitor"
SECONDS: Final = 365 * 24 * 3600
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def visitor_id(headers: Mapping[str, str]) -> str:
    """Return the id of the visitor whose browser sent these headers, "" without a valid cookie."""
    token = _token(headers.get("cookie") or "")
    return hashlib.sha256(token.encode()).hexdigest() if token else ""


def new_cookie(*, secure: bool) -> str:
    """Return the value of a Set-Cookie header with a new token.

    `secure` says that the page came over HTTPS. The cookie is then sent from within a frame of
    another site too, as on a Hugging Face Space, but to each such site a different one
    (`Partitioned`). Scripts can't read it, and without HTTPS no other site makes a browser send it.
    """
    scope = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Strict"
    token = secrets.token_urlsafe(32)
    return f"{COOKIE}={token}; Path=/; Max-Age={SECONDS}; HttpOnly; {scope}"


def _token(cookies: str) -> str:
    try:
        morsel = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None and _TOKEN.fullmatch(morsel.value) else ""
