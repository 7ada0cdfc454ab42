"""Google's Gemini API and its server."""

from typing import Self

from tests.backends.google.case import KEY, MODEL
from tests.backends.harness import RETRY_AFTER, Fault, Harness
from tests.servers import pictures
from tests.servers.google import GoogleServer, Script, error_info, failing, retry_info

HTML = b"<html><body>Bad gateway</body></html>"
QUOTA = "You exceeded your current quota, please check your plan and billing details."
LEAKY = f"Permission denied: Consumer 'api_key:{KEY}' may not call this."

SCRIPTS = {
    Fault.WRONG_KEY: failing(
        400,
        "INVALID_ARGUMENT",
        "API key not valid. Please pass a valid API key.",
        error_info("API_KEY_INVALID"),
    ),
    Fault.NO_CREDIT: failing(
        429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted. See AI Studio."
    ),
    Fault.FORBIDDEN: failing(403, "PERMISSION_DENIED", LEAKY),
    Fault.MODERATED_PROMPT: Script(blocked="PROHIBITED_CONTENT"),
    Fault.MODERATED_PICTURE: Script(finish="IMAGE_SAFETY", parts=()),
    Fault.RETIRED_MODEL: failing(
        404, "NOT_FOUND", "models/x is not found for API version v1, or is not supported."
    ),
    Fault.BUSY_FOR: failing(429, "RESOURCE_EXHAUSTED", QUOTA, retry_info(f"{RETRY_AFTER:g}s")),
    Fault.BUSY: failing(429, "RESOURCE_EXHAUSTED", QUOTA),
    Fault.ERROR_500: failing(500, "INTERNAL", "An internal error has occurred."),
    Fault.ERROR_503: failing(503, "UNAVAILABLE", "The model is overloaded."),
    Fault.NO_ANSWER: Script(hang=True),
    Fault.CUT: Script(cut=100),
    Fault.TRUNCATED: Script(raw=b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":"iVB'),
    Fault.HTML: Script(raw=HTML, media_type="text/html"),
    Fault.MISSING_FIELD: Script(raw=b'{"candidates":[{"index":0}]}'),
    Fault.EMPTY_PICTURE: Script(picture=b""),
    Fault.CORRUPT_PICTURE: Script(picture=pictures.plain()[:-20]),
    Fault.HUGE_PICTURE: Script(picture=pictures.bomb()),
    Fault.DRIP: Script(drip=1.0),
}


class GoogleHarness(Harness):
    """The backend `google` beside a server that speaks its API."""

    backend = "google"
    model = MODEL
    secret = KEY

    def __enter__(self) -> Self:
        """Start the server."""
        self.server = GoogleServer().__enter__()
        return self

    def __exit__(self, *how: object) -> None:
        """Stop it."""
        self.server.__exit__(*how)

    @property
    def origin(self) -> str:
        """Where the server is."""
        return self.server.origin

    def settings(self, origin: str) -> dict[str, str]:
        """The server's address and a key."""
        return {"GOOGLE_API_KEY": KEY, "GOOGLE_BASE_URL": origin}

    def meet(self, fault: Fault) -> None:
        """Answer every request with the fault."""
        self.server.usual = SCRIPTS[fault]

    def slow(self, seconds: float) -> None:
        """Take so long for every picture."""
        self.server.usual = Script(delay=seconds)

    @property
    def billable(self) -> int:
        """How many pictures were asked for."""
        return len(self.server.generations)

    def stopped(self) -> bool:
        """Whether the last caller hung up."""
        return self.server.wait_until("client left")
