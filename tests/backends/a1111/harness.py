"""A server of the AUTOMATIC1111 kind."""

import time
from collections.abc import Mapping
from typing import ClassVar, Self

from backends.base import Basis, Model, Price, Sizes
from tests.backends.harness import RETRY_AFTER, Fault, Harness
from tests.servers import pictures
from tests.servers.a1111 import A1111Server, failing
from tests.servers.a1111_script import Script

USER, PASSWORD = "keeper", "tr0ubadour-and-3-lamps"
HTML = b"<!doctype html><html><body>Gradio</body></html>"
MODEL = Model(
    id="a1111/current",
    label="Loaded checkpoint",
    family="unknown",
    source="current",
    provider="your A1111 server",
    supports=frozenset(
        {
            "negative_prompt",
            "seed",
            "count",
            "num_inference_steps",
            "guidance_scale",
            "controls",
            "image",
            "strength",
        }
    ),
    sizes=Sizes(native=((512, 512), (768, 768), (1024, 1024))),
    defaults={"num_inference_steps": 20, "guidance_scale": 7.0},
    controls={"*": ""},
    price=Price(basis=Basis.HARDWARE),
)
WAIT = {"Retry-After": f"{RETRY_AFTER:g}"}

# What happens to the generation; the server is otherwise well.
SCRIPTS = {
    Fault.FORBIDDEN: failing(403, "Forbidden by the tunnel"),
    Fault.BUSY_FOR: failing(429, "rate limit exceeded", headers=WAIT),
    Fault.BUSY: failing(429, "rate limit exceeded"),
    Fault.ERROR_500: failing(500, error="RuntimeError", errors="A tensor with NaNs was made."),
    Fault.ERROR_503: failing(503),
    Fault.NO_ANSWER: Script(hang=True),
    Fault.CUT: Script(cut=60),
    Fault.TRUNCATED: Script(raw=b'{"images":["iVBORw0K'),
    Fault.HTML: Script(raw=HTML, media_type="text/html"),
    Fault.MISSING_FIELD: Script(raw=b'{"parameters":{},"info":"{}"}'),
    Fault.EMPTY_PICTURE: Script(pictures=(b"",)),
    Fault.CORRUPT_PICTURE: Script(pictures=(pictures.plain()[:-20],)),
    Fault.HUGE_PICTURE: Script(pictures=(pictures.bomb(),)),
    Fault.DRIP: Script(drip=1.0),
}


class A1111Harness(Harness):
    """The backend `a1111` beside a server that requires a user and password."""

    backend = "a1111"
    model = MODEL
    secret = PASSWORD
    impossible: ClassVar[Mapping[Fault, str]] = {
        Fault.NO_CREDIT: "The server is the user's own: nobody is paid.",
        Fault.MODERATED_PROMPT: "The server draws whatever it is asked for.",
        Fault.MODERATED_PICTURE: "The server sends whatever it has drawn.",
    }

    def __enter__(self) -> Self:
        """Start the server."""
        self.server = A1111Server(auth=(USER, PASSWORD)).__enter__()
        return self

    def __exit__(self, *how: object) -> None:
        """Stop it."""
        self.server.__exit__(*how)

    @property
    def origin(self) -> str:
        """The server's address."""
        return self.server.origin

    def settings(self, origin: str) -> dict[str, str]:
        """Return the server's address, user and password."""
        return {"A1111_URL": origin, "A1111_USER": USER, "A1111_PASSWORD": PASSWORD}

    def meet(self, fault: Fault) -> None:
        """Let every generation cause the fault."""
        match fault:
            case Fault.WRONG_KEY:
                self.server.auth = (USER, "another")
            case Fault.RETIRED_MODEL:
                self.server.usual = failing(404, "Model not found")
            case _:
                self.server.usual = SCRIPTS[fault]

    def slow(self, seconds: float) -> None:
        """Let every picture take `seconds`."""
        self.server.usual = Script(delay=seconds)

    @property
    def billable(self) -> int:
        """The number of generations that were requested."""
        return len(self.server.generations)

    def stopped(self) -> bool:
        """Return True if the last job was interrupted; closing the connection would not end it."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.server.jobs and self.server.jobs[-1].interrupted:
                return True
            time.sleep(0.01)
        return False
