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
        "errors model base paths files json_values lazy_import concurrency settings wording "
        "preprocessors prompt_syntax prompt_length threads",
        "http images",
        "fit options readiness chat hosted",
        f"local miniatures.world miniatures.defaults {' '.join(PROVIDERS)}",
        "miniatures.training",
        "miniatures.__main__ registry",
    ),
    "compare": (
        "redaction",
        "records settings visitor_keys",
        "pricing formatting durations prompts store",
        "catalogue",
        "runs",
        "history sweeps judging export",
        "lineup",
        "cli",
        "__main__",
    ),
    "ui": (
        "theme page_files events uploads visitors control_maps",
        "context",
        "board",
        "compare_tab models_tab keys_tab",
        "server page",
    ),
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

TOPS = ("backends", "compare", "ui")
BELOW = {"backends": ("backends",), "compare": ("backends", "compare"), "ui": TOPS}
"""What each top package may import of the project."""


def modules() -> Iterator[tuple[str, Path]]:
    for top in TOPS:
        for path in sorted((PROJECT / top).rglob("*.py")):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports from the project, modules and their members."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in found if name.split(".")[0] in TOPS}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer(name: str) -> int | None:
    """Return the layer of a module or of what is imported from one, None for a top package."""
    top, _, rest = name.partition(".")
    for number, names in enumerate(LAYERS[top]):
        if any(within(rest, each) for each in names.split()):
            return number
    return None


EVERY = dict(modules())


def test_imports_go_down() -> None:
    wrong: list[str] = []
    for name, path in EVERY.items():
        own, top = layer(name), name.split(".")[0]
        assert own is not None or name in {*TOPS, "backends.miniatures"}, f"{name} has no layer"
        for target in imported(path):
            below = layer(target) if target.split(".")[0] == top else None
            above = own is not None and below is not None and below > own
            if above or target.split(".")[0] not in BELOW[top]:
                wrong.append(f"{name} imports {target}")
    assert not wrong


def test_siblings_never_import_each_other() -> None:
    wrong: list[str] = []
    for name, path in EVERY.items():
        for family in SIBLINGS:
            home = next((each for each in family if within(name, each)), None)
            for target in imported(path) if home else ():
                other = next((each for each in family if within(target, each)), home)
                if other != home and (home, other) not in ALLOWED:
                    wrong.append(f"{name} imports {target}")
    assert not wrong


def test_compare_and_the_tables_of_names_import_no_provider() -> None:
    named = [f"backends.{provider}" for provider in (*PROVIDERS, "local", "miniatures")]
    wrong = [
        f"{name} imports {target}"
        for name, path in EVERY.items()
        if name in ONLY_BY_NAME or name.startswith("compare")
        for target in imported(path)
        if any(within(target, one) for one in named)
    ]
    assert not wrong


def test_nothing_imports_the_training_of_the_miniatures() -> None:
    for name, path in EVERY.items():
        if not name.startswith(("backends.miniatures.training", "backends.miniatures.__main__")):
            wrong = [
                each for each in imported(path) if within(each, "backends.miniatures.training")
            ]
            assert not wrong, f"{name} imports {wrong}"


def test_one_module_asks_where_the_project_lies() -> None:
    asking = [name for name, path in EVERY.items() if "__file__" in path.read_text("utf-8")]
    assert asking == ["backends.paths"]
