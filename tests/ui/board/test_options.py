"""The options that differ from their defaults, as the header and the cards say them."""

from typing import Any

import pytest

from backends.base import Request
from compare.records import RunSpec, SecondStep
from ui.board.options import format_options, set_options

OPTIONS: dict[str, dict[str, Any]] = {
    "openai": {"quality": "high", "background": "auto"},
    "local": {"loras": "watercolour:0.8", "previews": False, "scheduler": ""},
}
SPEC = RunSpec(Request(prompt="a", options=OPTIONS))


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("openai", ["quality high"]),
        ("local", ["watercolour:0.8", "no live previews"]),
        ("stability", []),
        ("no-such-backend", []),
    ],
)
def test_what_differs_from_the_default_is_said(backend: str, said: list[str]) -> None:
    assert set_options(SPEC, backend) == said


def test_the_header_names_the_backend_where_several_have_options() -> None:
    one = format_options(SPEC, {"openai": "OpenAI", "stability": "Stability AI"})
    assert one == "quality high"
    both = format_options(SPEC, {"openai": "OpenAI", "local": "This machine"})
    assert both == "OpenAI: quality high · This machine: watercolour:0.8, no live previews"


def test_a_second_step_has_its_own() -> None:
    second = SecondStep(model="openai/x", options={"openai": {"quality": "medium"}})
    spec = RunSpec(SPEC.request, second_step=second)
    assert set_options(spec, "openai") == ["quality high"]
    assert set_options(spec, "openai", second=True) == ["quality medium"]
