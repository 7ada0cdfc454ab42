"""A ComfyUI server."""

import time
from collections.abc import Mapping
from typing import ClassVar, Self

from backends.base import Basis, Model, Price, Sizes
from tests.backends.harness import RETRY_AFTER, Fault, Harness
from tests.servers import pictures
from tests.servers.comfyui import ComfyUIServer, basic, failing
from tests.servers.comfyui_script import Kind, Script

USER, PASSWORD = "keeper", "n0des-and-3-wires"
HTML = b"<!doctype html><html><body>Bad gateway</body></html>"
MODEL = Model(
    id="comfyui/v1-5-pruned-emaonly",
    label="v1-5-pruned-emaonly",
    family="unknown",
    source="v1-5-pruned-emaonly",
    provider="your ComfyUI server",
    supports=frozenset(
        {"negative_prompt", "seed", "count", "num_inference_steps", "guidance_scale", "controls"}
    ),
    sizes=Sizes(native=((512, 512), (768, 768), (1024, 1024))),
    defaults={"num_inference_steps": 20, "guidance_scale": 7.0},
    controls={"canny": "", "none": ""},
    price=Price(basis=Basis.HARDWARE),
)

# What happens to the prompt; the server is otherwise well.
SCRIPTS = {
    Fault.FORBIDDEN: failing(403),
    Fault.BUSY_FOR: failing(429, Retry_After=f"{RETRY_AFTER:g}"),
    Fault.BUSY: failing(429),
    Fault.ERROR_500: failing(500),
    Fault.ERROR_503: failing(503),
    Fault.NO_ANSWER: Script(hang=True),
    Fault.CUT: Script(cut=20, delay=30),
    Fault.TRUNCATED: Script(raw=b'{"prompt_id": "abc'),
    Fault.HTML: Script(raw=HTML, media_type="text/html"),
    Fault.MISSING_FIELD: Script(nameless=True),
    Fault.EMPTY_PICTURE: Script(picture=b""),
    Fault.CORRUPT_PICTURE: Script(picture=pictures.plain()[:-20]),
    Fault.HUGE_PICTURE: Script(picture=pictures.bomb()),
    Fault.DRIP: Script(drip=1.0, delay=30),
}


class ComfyUIHarness(Harness):
    """The backend `comfyui` beside a server behind a proxy that requires a user and password."""

    backend = "comfyui"
    model = MODEL
    secret = PASSWORD
    impossible: ClassVar[Mapping[Fault, str]] = {
        Fault.NO_CREDIT: "The server is the user's own: nobody is paid.",
        Fault.MODERATED_PROMPT: "The server draws whatever it is asked for.",
        Fault.MODERATED_PICTURE: "The server sends whatever it has drawn.",
    }

    def __enter__(self) -> Self:
        """Start the server."""
        self.server = ComfyUIServer(authorization=basic(USER, PASSWORD)).__enter__()
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
        return {"COMFYUI_URL": origin, "COMFYUI_USER": USER, "COMFYUI_PASSWORD": PASSWORD}

    def meet(self, fault: Fault) -> None:
        """Let every prompt cause the fault."""
        match fault:
            case Fault.WRONG_KEY:
                self.server.authorization = basic(USER, "another")
            case Fault.RETIRED_MODEL:
                self.server.kind = Kind(checkpoints=("sd_xl_base_1.0.safetensors",))
            case _:
                self.server.usual = SCRIPTS[fault]

    def slow(self, seconds: float) -> None:
        """Let every picture take `seconds`."""
        self.server.usual = Script(delay=seconds)

    @property
    def billable(self) -> int:
        """The number of posted prompts."""
        return len(self.server.asked("/prompt"))

    def stopped(self) -> bool:
        """Whether the last job was interrupted; that the caller hung up would not end it."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.server.jobs and self.server.jobs[-1].interrupted:
                return True
            time.sleep(0.01)
        return False
