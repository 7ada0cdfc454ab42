import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from backends.base import Control, Request
from compare.catalogue.catalogue import load
from compare.records import Provenance, RunSpec, SecondStep
from compare.runs.validation import problems
from tests.compare.helpers import changed

CATALOGUE = load()
GOOD = RunSpec(Request(prompt="a fox", controls=(Control(image=b"x"),)))
MODELS = ["local/sdxl"]


@pytest.mark.parametrize(
    "prompt", ["🦊🎨", "שועל אדום", "a\u202eb", "x" * 20_000, "line\nbreak", "  padded  "]
)
def test_every_writing_is_fine(prompt: str):
    assert problems(changed(GOOD, prompt=prompt), MODELS, CATALOGUE) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", " \n\t"),
        ("prompt", "x" * 32_001),
        ("prompt", "\ud800"),
        ("negative_prompt", "x" * 32_001),
        ("num_inference_steps", 0),
        ("num_inference_steps", 501),
        ("count", 0),
        ("count", 21),
        ("width", 15),
        ("height", 8193),
        ("guidance_scale", -0.1),
        ("guidance_scale", math.nan),
        ("guidance_scale", 50.1),
        ("seed", -1),
        ("seed", 2**32),
        ("controls", (Control(image=b""),)),
        ("controls", (Control(image=b"x", weight=2.1),)),
        ("controls", (Control(image=b"x", start=-0.1),)),
        ("controls", (Control(image=b"x", start=0.5, end=0.5),)),
        ("controls", (Control(image=b"x", end=1.1),)),
        ("controls", (Control(image=b"x"), Control(image=b""))),
        ("controls", (Control(image=b"x"),) * 9),
        ("image", b""),
        ("strength", 0.0),
        ("strength", 1.01),
        ("options", {"local": {"loras": "half \ud83e"}}),
        ("options", {"local": {"half \ud83e": 1}}),
        ("options", {"half \ud83e": {}}),
    ],
)
def test_each_problem_stands_at_its_field(field: str, value: Any):
    only_about(field, problems(changed(GOOD, **{field: value}), MODELS, CATALOGUE))


@pytest.mark.parametrize(
    "second",
    [
        SecondStep(model="nonsense/x"),
        SecondStep(model="openai/dall-e-2"),
        SecondStep(model="local/sdxl", strength=1.5),
        SecondStep(model="local/sdxl", prompt="x" * 32_001),
    ],
)
def test_a_problem_of_the_second_step_stands_at_it(second: SecondStep):
    only_about("then", problems(replace(GOOD, second_step=second), MODELS, CATALOGUE))


def only_about(field: str, found: Mapping[str, str]) -> None:
    assert list(found) == [field]
    assert found[field].endswith(".") and len(found[field]) < 200


def test_of_several_controls_the_bad_one_is_named():
    controls = (Control(image=b"x"), Control(image=b"x", weight=3.0))
    found = problems(changed(GOOD, controls=controls), MODELS, CATALOGUE)
    assert found == {"controls": "The weight of control picture 2 must be between 0.0 and 2.0."}


def test_a_second_step_that_can_go_on_from_a_picture_is_fine():
    then = SecondStep(model="miniature/masked", strength=1.0)
    assert problems(replace(GOOD, second_step=then), MODELS, CATALOGUE) == {}


def test_edges_are_inside():
    spec = changed(
        GOOD,
        num_inference_steps=500,
        count=20,
        width=16,
        height=8192,
        guidance_scale=0,
        seed=2**32 - 1,
    )
    assert problems(spec, MODELS, CATALOGUE) == {}


def test_models():
    assert problems(GOOD, [], CATALOGUE) == {"models": "Choose at least one model."}
    found = problems(GOOD, ["local/sdxl", "locl/sdxl"], CATALOGUE)
    assert "locl/sdxl" in found["models"] and "Did you mean" in found["models"]


def test_no_text_of_any_field_is_half_a_character():
    broken = "half \ud83e"
    control = Control(image=b"x", preprocessor=broken)
    parameters = Control(image=b"x", parameters={"low": broken})
    second = SecondStep(model="local/sdxl", options={"local": {"scheduler": broken}})
    specs = [changed(GOOD, controls=(each,)) for each in (control, parameters)]
    specs += [replace(GOOD, second_step=second)]
    specs += [replace(GOOD, provenance=Provenance(template=broken))]
    specs += [replace(GOOD, provenance=Provenance(rewritten_by=broken))]
    for spec in specs:
        (sentence,) = problems(spec, MODELS, CATALOGUE).values()
        assert "holds characters that are broken" in sentence
