"""OpenAI's image API and its server."""

from typing import Self

from tests.backends.harness import RETRY_AFTER, Fault, Harness
from tests.backends.openai.case import KEY, MODEL
from tests.servers import pictures
from tests.servers.openai import OpenAIServer
from tests.servers.openai_script import Script, failing

HTML = b"<html><body>Bad gateway</body></html>"
WAIT = {"retry-after": f"{RETRY_AFTER:g}"}
BLOCKED = {"code": "moderation_blocked", "message": "Rejected by the safety system."}

SCRIPTS = {
    Fault.WRONG_KEY: failing(401, "invalid_api_key", "Incorrect API key provided."),
    Fault.NO_CREDIT: failing(429, "insufficient_quota", "You exceeded your current quota."),
    Fault.FORBIDDEN: failing(403, None, "Your organization must be verified."),
    Fault.MODERATED_PROMPT: failing(400, **BLOCKED),
    Fault.MODERATED_PICTURE: Script(stream_error=BLOCKED),
    Fault.RETIRED_MODEL: failing(404, "model_not_found", "The model does not exist."),
    Fault.BUSY_FOR: failing(429, "rate_limit_exceeded", "Slow down.", headers=WAIT),
    Fault.BUSY: failing(429, "rate_limit_exceeded", "Slow down."),
    Fault.ERROR_500: failing(500, "server_error", "The server had an error."),
    Fault.ERROR_503: failing(503, None, "Overloaded."),
    Fault.NO_ANSWER: Script(hang=True),
    Fault.CUT: Script(cut=1000),
    Fault.TRUNCATED: Script(stream=False, raw=b'{"data":[{"b64_json":"iVBORw0K'),
    Fault.HTML: Script(stream=False, raw=HTML, media_type="text/html"),
    Fault.MISSING_FIELD: Script(stream=False, raw=b'{"created":1}'),
    Fault.EMPTY_PICTURE: Script(picture=b""),
    Fault.CORRUPT_PICTURE: Script(picture=pictures.plain()[:-20]),
    Fault.HUGE_PICTURE: Script(picture=pictures.bomb()),
    Fault.DRIP: Script(stream=False, drip=1.0, pieces=1_000_000),
}


class OpenAIHarness(Harness):
    """The backend `openai` beside a server that speaks its API."""

    backend = "openai"
    model = MODEL
    secret = KEY

    def __enter__(self) -> Self:
        """Start the server."""
        self.server = OpenAIServer(Script(picture=pictures.plain())).__enter__()
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
        address = f"{origin}/v1"
        return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": address, "OPENAI_STREAM": "on"}

    def meet(self, fault: Fault) -> None:
        """Answer every request with the fault."""
        self.server.usual = SCRIPTS[fault]

    def slow(self, seconds: float) -> None:
        """Take so long for every picture."""
        self.server.usual = Script(picture=pictures.plain(), delay=seconds)

    @property
    def billable(self) -> int:
        """How many generations were asked for."""
        return len(self.server.generations)

    def stopped(self) -> bool:
        """Whether the last caller hung up."""
        return self.server.wait_until("client left")
