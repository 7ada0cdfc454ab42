"""Keys that are planted to be found: in no byte of what Lineup stores, prints or answers."""

import base64
from collections.abc import Iterator
from pathlib import Path

NAMES = (
    "A1111_PASSWORD",
    "COMFYUI_PASSWORD",
    "COMFYUI_TOKEN",
    "CRAIYON_TOKEN",
    "DISCORD_BOT_TOKEN",
    "GOOGLE_API_KEY",
    "HF_TOKEN",
    "MINE_API_KEY",
    "OPENAI_API_KEY",
    "STABILITY_API_KEY",
)
PLANTED = {name: f"canary-{number}-Qx7Zk9Vt3Mw5Rb2Hc8Ld" for number, name in enumerate(NAMES)}
_CORE = b"Qx7Zk9Vt3Mw5Rb2Hc8Ld"


def forms() -> Iterator[bytes]:
    """Yield what every canary holds, plain, in hex and in base64 at each of its three places."""
    yield _CORE
    yield _CORE.hex().encode()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + _CORE)
        yield encoded[-(-8 * before // 6) : 8 * (before + len(_CORE)) // 6]


def found(data: bytes) -> bool:
    """Return whether a canary is in `data`, in any case."""
    low = data.lower()
    return any(form.lower() in low for form in forms())


def files_with_canaries(*folders: Path) -> list[Path]:
    """Return the files in these folders that hold a canary; a folder may be a file."""
    files = [file for folder in folders for file in (folder, *folder.rglob("*")) if file.is_file()]
    return [file for file in files if found(file.read_bytes())]
