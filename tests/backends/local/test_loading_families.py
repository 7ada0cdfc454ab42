"""The other miniatures in every form that the weights of their large relatives have on disk."""

import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from transformers import JanusForConditionalGeneration, JanusProcessor

from backends.base import Config, Model, Picture, Readiness, Request
from backends.local import Miniature
from backends.local.families import discrete
from backends.paths import PROJECT
from compare.catalogue.catalogue import load

OURS = PROJECT / "assets" / "miniatures"
ASK = Request(prompt="a red star on a white background", seed=5, num_inference_steps=3)
FORMS = {
    "masked": ("whole", "both", "half", "half sharded"),
    "discrete": ("whole", "both", "half", "half sharded"),
    "cascade": ("whole", "both", "half", "half sharded"),
    "autoregressive": ("whole", "half", "whole sharded"),
}
CASES = [
    pytest.param(family, form, id=f"{family}: {form}")
    for family, forms in FORMS.items()
    for form in forms
]
SHARD = "1MB"


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every folder of the miniatures, written anew in those forms."""
    here = tmp_path_factory.mktemp("forms")
    for name in ("masked", "discrete", "cascade", "cascade_super"):
        _pipeline(name, here / name)
    model: Any = JanusForConditionalGeneration.from_pretrained(str(OURS / "autoregressive"))
    reader: Any = JanusProcessor.from_pretrained(str(OURS / "autoregressive"))
    model.save_pretrained(here / "autoregressive" / "whole")
    model.save_pretrained(here / "autoregressive" / "whole sharded", max_shard_size=SHARD)
    model.to(torch.float16).save_pretrained(here / "autoregressive" / "half")
    for form in FORMS["autoregressive"]:
        reader.save_pretrained(here / "autoregressive" / form)
    return here


def _pipeline(name: str, here: Path) -> None:
    folder = OURS / name
    known = cast(Any, DiffusionPipeline).from_pretrained
    pipeline: Any = discrete.read(folder) if name == "discrete" else known(folder)
    pipeline.save_pretrained(here / "whole")
    pipeline.save_pretrained(here / "both")
    pipeline.to(torch.float16)
    pipeline.save_pretrained(here / "both", variant="fp16")
    pipeline.save_pretrained(here / "half", variant="fp16")
    pipeline.save_pretrained(here / "half sharded", variant="fp16", max_shard_size=SHARD)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Miniature, None]:
    backend = Miniature(Config(value=os.environ.get, home=tmp_path_factory.mktemp("home")))
    yield backend
    await backend.aclose()


def committed(family: str) -> Model:
    return load().find(f"miniature/{family}")


def elsewhere(family: str, folder: Path, form: str) -> Model:
    """The same model, its folders in that form."""
    model = committed(family)
    options = dict(model.options)
    if "stages" in options:
        options["stages"] = str(folder / f"{family}_super" / form)
    return replace(model, source=str(folder / family / form), options=options)


async def drawn(local: Miniature, model: Model) -> bytes:
    assert local.ready(model).state is Readiness.READY
    events = [event async for event in local.generate(model, ASK)]
    [picture] = [event for event in events if isinstance(event, Picture)]
    return picture.data


@pytest.mark.parametrize(("family", "form"), CASES)
async def test_every_form_draws_the_same(
    local: Miniature, forms: Path, family: str, form: str
) -> None:
    other = await drawn(local, elsewhere(family, forms, form))
    # Half precision too: that is what the committed numbers were kept in.
    assert other == await drawn(local, committed(family))


def test_the_forms_are_what_they_are_called(forms: Path) -> None:
    for name, part in (("masked", "transformer"), ("discrete", "transformer"), ("cascade", "unet")):
        kinds = {
            form: {file.name for file in (forms / name / form / part).iterdir()}
            for form in FORMS[name]
        }
        assert kinds["whole"] == {"config.json", "diffusion_pytorch_model.safetensors"}
        assert kinds["half"] == {"config.json", "diffusion_pytorch_model.fp16.safetensors"}
        assert kinds["both"] == kinds["whole"] | kinds["half"]
        assert "diffusion_pytorch_model.safetensors.index.fp16.json" in kinds["half sharded"]
    sharded = forms / "autoregressive" / "whole sharded"
    assert (sharded / "model.safetensors.index.json").is_file()
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
