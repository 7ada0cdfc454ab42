"""Hugging Face's Hub and router, with Fal behind it, and their server."""

from typing import Self

from backends.base import Model
from tests.backends.harness import RETRY_AFTER, Fault, Harness
from tests.servers import pictures
from tests.servers.huggingface import HuggingFaceServer, Script

TOKEN = "hf_verysecretindeed1234"
MODEL = Model(
    id="huggingface/flux.1-dev",
    label="FLUX.1-dev",
    family="flow",
    source="black-forest-labs/FLUX.1-dev",
    supports=frozenset(
        {"negative_prompt", "seed", "count", "num_inference_steps", "guidance_scale"}
    ),
    defaults={"num_inference_steps": 28, "guidance_scale": 3.5},
    most_count=4,
)
WAIT = {"retry-after": f"{RETRY_AFTER:g}"}
FLAGGED = {
    "loc": ["body", "prompt"],
    "msg": "The content could not be processed.",
    "type": "content_policy_violation",
    "input": "a lighthouse",
}

SCRIPTS = {
    Fault.WRONG_KEY: Script(status=401, error={"error": "Invalid username or password."}),
    Fault.NO_CREDIT: Script(status=402, error={"error": "You have depleted your credits."}),
    Fault.FORBIDDEN: Script(
        status=403, error={"error": "This token does not have sufficient permissions."}
    ),
    Fault.MODERATED_PROMPT: Script(status=422, error={"detail": [FLAGGED]}),
    Fault.MODERATED_PICTURE: Script(withheld=True),
    Fault.RETIRED_MODEL: Script(status=404, error={"detail": "Application not found"}),
    Fault.BUSY_FOR: Script(status=429, error={"error": "Too many requests"}, headers=WAIT),
    Fault.BUSY: Script(status=429, error={"error": "Too many requests"}),
    Fault.ERROR_500: Script(status=500, error={"detail": "Internal server error"}),
    Fault.ERROR_503: Script(status=503, error={"error": "Service unavailable"}),
    Fault.NO_ANSWER: Script(hang=True),
    Fault.CUT: Script(cut=40),
    Fault.TRUNCATED: Script(raw=b'{"images":[{"url":"https://v3.fal.me'),
    Fault.HTML: Script(raw=b"<html><body>Bad gateway</body></html>", media_type="text/html"),
    Fault.MISSING_FIELD: Script(raw=b'{"timings":{},"seed":1}'),
    Fault.EMPTY_PICTURE: Script(picture=b""),
    Fault.CORRUPT_PICTURE: Script(picture=pictures.plain()[:-20]),
    Fault.HUGE_PICTURE: Script(picture=pictures.bomb()),
    Fault.DRIP: Script(drip=1.0),
}


class HuggingFaceHarness(Harness):
    """The backend `huggingface` beside a server that is the Hub, the router and Fal."""

    backend = "huggingface"
    model = MODEL
    secret = TOKEN

    def __enter__(self) -> Self:
        """Start the server."""
        self.server = HuggingFaceServer().__enter__()
        return self

    def __exit__(self, *how: object) -> None:
        """Stop it."""
        self.server.__exit__(*how)

    @property
    def origin(self) -> str:
        """Where the server is."""
        return self.server.origin

    def settings(self, origin: str) -> dict[str, str]:
        """The server's address in both parts, and a token."""
        return {"HF_TOKEN": TOKEN, "HF_ENDPOINT": origin, "HF_INFERENCE_BASE": origin}

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
