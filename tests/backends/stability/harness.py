"""Stability AI's image API and its server."""

from typing import Self

from backends.base import Model, Sizes
from tests.backends.harness import RETRY_AFTER, Fault, Harness
from tests.servers import pictures
from tests.servers.stability import FILTERED, Script, StabilityServer, failing

KEY = "sk-verysecretindeed1234"
MODEL = Model(
    id="stability/sd3.5-large",
    label="Stable Diffusion 3.5 Large",
    family="flow",
    source="sd3.5-large",
    supports=frozenset({"negative_prompt", "seed", "count", "guidance_scale", "image", "strength"}),
    sizes=Sizes(native=((1024, 1024), (1344, 768), (768, 1344)), only_native=True),
    most_count=4,
    most_prompt=10_000,
)
SCRIPTS = {
    Fault.WRONG_KEY: failing(401, "unauthorized", f"{KEY} is an invalid key"),
    Fault.NO_CREDIT: failing(402, "payment_required", "You lack sufficient credits."),
    Fault.FORBIDDEN: failing(403, "permission_denied", f"Not for {KEY}"),
    Fault.MODERATED_PROMPT: failing(403, "content_moderation", "Your request was flagged."),
    Fault.MODERATED_PICTURE: Script(finish=FILTERED),
    Fault.RETIRED_MODEL: failing(404, "not_found", "No such engine."),
    Fault.BUSY_FOR: failing(429, "rate_limit_exceeded", "Slow.", retry_after=f"{RETRY_AFTER:g}"),
    Fault.BUSY: failing(429, "rate_limit_exceeded", "You have exceeded the rate limit."),
    Fault.ERROR_500: failing(500, "internal_error", "An unexpected server error has occurred"),
    Fault.ERROR_503: failing(503, "unavailable", "Overloaded."),
    Fault.NO_ANSWER: Script(hang=True),
    Fault.CUT: Script(cut=100),
    Fault.TRUNCATED: Script(raw=b'{"image":"iVBORw0K'),
    Fault.HTML: Script(raw=b"<html><body>Bad gateway</body></html>", media_type="text/html"),
    Fault.MISSING_FIELD: Script(raw=b'{"finish_reason":"SUCCESS","seed":1}'),
    Fault.EMPTY_PICTURE: Script(picture=b""),
    Fault.CORRUPT_PICTURE: Script(picture=pictures.plain()[:-20]),
    Fault.HUGE_PICTURE: Script(picture=pictures.bomb()),
    Fault.DRIP: Script(drip=1.0),
}


class StabilityHarness(Harness):
    """The backend `stability` beside a server that speaks its API."""

    backend = "stability"
    model = MODEL
    secret = KEY

    def __enter__(self) -> Self:
        """Start the server."""
        self.server = StabilityServer().__enter__()
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
        return {"STABILITY_API_KEY": KEY, "STABILITY_BASE_URL": origin}

    def meet(self, fault: Fault) -> None:
        """Answer every request for a picture with the fault."""
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
