"""Craiyon and its server."""

from collections.abc import Mapping
from typing import ClassVar, Self

from backends.base import Basis, Model, Price
from tests.backends.harness import RETRY_AFTER, Fault, Harness
from tests.servers import pictures
from tests.servers.craiyon import VERSION, WALL, CraiyonServer, Script

TOKEN = "token-verysecretindeed1234"
MODEL = Model(
    id="craiyon/v3",
    label="Craiyon v3",
    family="unknown",
    source="v3",
    supports=frozenset({"negative_prompt", "count"}),
    most_count=9,
    price=Price(basis=Basis.SUBSCRIPTION),
)
SCRIPTS = {
    Fault.WRONG_KEY: Script(status=401, raw=b'{"error":"token"}'),
    Fault.NO_CREDIT: Script(status=402, raw=b'{"error":"payment"}'),
    Fault.FORBIDDEN: Script(status=403, raw=WALL, media_type="text/html"),
    Fault.RETIRED_MODEL: Script(status=404, raw=b"Not Found", media_type="text/plain"),
    Fault.BUSY_FOR: Script(status=429, raw=b"{}", headers={"Retry-After": f"{RETRY_AFTER:g}"}),
    Fault.BUSY: Script(status=429, raw=b"{}"),
    Fault.ERROR_500: Script(status=500, raw=b"{}"),
    Fault.ERROR_503: Script(status=503, raw=WALL, media_type="text/html"),
    Fault.NO_ANSWER: Script(hang=True),
    Fault.CUT: Script(cut=40),
    Fault.TRUNCATED: Script(raw=b'{"images":["2026/pict'),
    Fault.HTML: Script(raw=WALL, media_type="text/html"),
    Fault.MISSING_FIELD: Script(raw=b'{"next_prompt":"a lighthouse at dusk"}'),
    Fault.EMPTY_PICTURE: Script(picture=b""),
    Fault.CORRUPT_PICTURE: Script(picture=pictures.plain()[:-20]),
    Fault.HUGE_PICTURE: Script(picture=pictures.bomb()),
    Fault.DRIP: Script(drip=1.0),
}


class CraiyonHarness(Harness):
    """The backend `craiyon` beside a server that lets it in."""

    backend = "craiyon"
    model = MODEL
    secret = TOKEN
    impossible: ClassVar[Mapping[Fault, str]] = {
        Fault.MODERATED_PROMPT: "How Craiyon declines a prompt is documented nowhere.",
        Fault.MODERATED_PICTURE: "How Craiyon withholds a picture is documented nowhere.",
    }

    def __enter__(self) -> Self:
        """Start the server."""
        self.server = CraiyonServer().__enter__()
        return self

    def __exit__(self, *how: object) -> None:
        """Stop it."""
        self.server.__exit__(*how)

    @property
    def origin(self) -> str:
        """Where the server is."""
        return self.server.origin

    def settings(self, origin: str) -> dict[str, str]:
        """Switched on, with address, version and token; so the package is not needed."""
        return {
            "CRAIYON_ENABLED": "1",
            "CRAIYON_BASE_URL": f"{origin}/v3",
            "CRAIYON_VERSION": VERSION,
            "CRAIYON_TOKEN": TOKEN,
        }

    def meet(self, fault: Fault) -> None:
        """Answer every request with the fault."""
        self.server.usual = SCRIPTS[fault]

    def slow(self, seconds: float) -> None:
        """Take so long for every drawing."""
        self.server.usual = Script(delay=seconds)

    @property
    def billable(self) -> int:
        """How many drawings were asked for."""
        return len(self.server.drawings)

    def stopped(self) -> bool:
        """Whether the last caller hung up."""
        return self.server.wait_until("client left")
