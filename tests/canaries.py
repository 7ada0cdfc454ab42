"""Keys that are planted to be found: in no byte of what Lineup stores, prints or answers."""

import base64
import re
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
PLANTED = {
    name: f"{'hf_' if name == 'HF_TOKEN' else ''}canary-{number}-Qx7Zk9Vt3Mw5Rb2Hc8Ld"
    for number, name in enumerate(NAMES)
}
NOWHERE = dict.fromkeys(
    (
        "A1111_URL",
        "COMFYUI_URL",
        "CRAIYON_BASE_URL",
        "DISCORD_API_BASE",
        "GOOGLE_BASE_URL",
        "HF_ENDPOINT",
        "HF_INFERENCE_BASE",
        "OPENAI_BASE_URL",
        "STABILITY_BASE_URL",
    ),
    "http://127.0.0.1:9",
)
"""Addresses at which nothing answers, so that no canary leaves this machine."""
_CORE = b"Qx7Zk9Vt3Mw5Rb2Hc8Ld"
_FEW = 5
"""So many characters may be missing on either side."""


def _forms() -> Iterator[bytes]:
    """Yield what every canary holds, plain, in hex, and in base64 at each of its three places."""
    yield _CORE
    yield _CORE.hex().encode()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + _CORE)
        whole = encoded[-(-8 * before // 6) : 8 * (before + len(_CORE)) // 6]
        yield from (whole, whole.hex().encode())


_INNER = re.compile(b"|".join(form.lower()[_FEW:-_FEW] for form in _forms()))
_SIGNS = bytes(set(range(256)) - set(b"0123456789abcdefghijklmnopqrstuvwxyz"))


def found(data: bytes) -> bool:
    """Return whether the inner half of a canary is in `data`, in any case, in pieces or whole."""
    return _INNER.search(data.lower().translate(None, _SIGNS)) is not None


def files_with_canaries(*folders: Path) -> list[Path]:
    """Return the files in these folders that hold a canary; a folder may be a file."""
    files = [file for folder in folders for file in (folder, *folder.rglob("*")) if file.is_file()]
    return [file for file in files if found(file.read_bytes())]
