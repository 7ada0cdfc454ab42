"""Imports go down: the layers of each top package, read from the syntax trees.

A module may import from its own layer and from lower ones, whether at its top, inside a function
or for types only. Packages that are siblings (providers, tabs, features) never import each other.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from backends.paths import PROJECT

PROVIDERS = (
    "a1111",
    "comfyui",
    "craiyon",
    "google",
    "huggingface",
    "midjourney",
    "openai",
    "stability",
)

LAYERS: Mapping[str, Sequence[str]] = {
    "backends": (
        "errors model base paths json_values lazy_import concurrency settings wording "
        "preprocessors threads",
        "http images",
        "fit options readiness chat hosted",
        f"local miniatures.world miniatures.defaults {' '.join(PROVIDERS)}",
        "miniatures.training",
        "miniatures.__main__ registry",
    ),
    "compare": (
        "records settings visitor_keys",
        "pricing formatting prompts store",
        "catalogue",
        "runs",
        "history sweeps judging export",
        "lineup",
        "cli",
        "__main__",
    ),
    "ui": ("theme context events", "board", "compare_tab models_tab keys_tab", "server page"),
}
"""The packages and modules of each top package, the lowest layer first."""

SIBLINGS: Sequence[Sequence[str]] = (
    [f"backends.{name}" for name in (*PROVIDERS, "local")],
    ["backends.local", "backends.miniatures.world"],
    [f"compare.{name}" for name in ("history", "sweeps", "judging", "export")],
    [f"ui.{name}" for name in ("compare_tab", "models_tab", "keys_tab")],
)
ALLOWED = {("compare.export", "compare.history"), ("compare.judging", "compare.history")}
ONLY_BY_NAME = ("backends.registry", "backends.chat")
"""Modules that hold providers as text and import none."""

KNOWN = {
