"""The catalogue's defaults, where it says that they are those of a pipeline of diffusers."""

import inspect

import diffusers
import pytest

from backends.base import Model
from compare.catalogue.catalogue import load

PIPELINES = "diffusers."
MODELS = [
    model for model in load().models if model.sources.get("defaults", "").startswith(PIPELINES)
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_they_are_those_of_the_pipeline(model: Model) -> None:
    pipeline = getattr(diffusers, model.sources["defaults"].removeprefix(PIPELINES))
    parameters = inspect.signature(pipeline.__call__).parameters
    assert model.defaults == {name: parameters[name].default for name in model.defaults}
