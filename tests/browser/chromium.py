"""Where Chromium is, and how it is started here."""

import os
import shutil

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


def find() -> str | None:
    """Return Chromium's path, None where there is none."""
    wished = os.environ.get("CHROMIUM")
    return wished or shutil.which("chromium") or shutil.which("chromium-browser")
