from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from backends.base import Basis, Model, State
from backends.miniatures.defaults import FAMILIES, SETTINGS
from backends.registry import BACKENDS
from compare.catalogue.catalogue import UnknownModel, load, status_on, status_sentence
from compare.catalogue.toml_reader import CatalogueError

CATALOGUE = load()
ENTRY = '[[model]]\nid = "a/b"\nlabel = "B"\nfamily = "f"\nsource = "s"\n'


def read(tmp_path: Path, text: str) -> tuple[Model, ...]:
    file = tmp_path / "models.toml"
    file.write_text(text, encoding="utf-8")
    return load(file).models


@pytest.mark.parametrize("model", CATALOGUE.models, ids=lambda model: model.id)
def test_every_row_makes_sense(model: Model):
    assert model.backend in BACKENDS
    assert model.label and model.family and model.source and model.licence
    assert model.links and all(link.startswith("https://") for link in model.links.values())
    assert set(model.defaults) <= {"num_inference_steps", "guidance_scale"}
    sizes = model.sizes
    for width, height in sizes.native:
        assert width % 8 == 0 and height % 8 == 0
        assert sizes.only_native or (width % sizes.multiple, height % sizes.multiple) == (0, 0)
        assert sizes.only_native or sizes.least <= min(width, height)
        assert sizes.only_native or max(width, height) <= sizes.most
    if model.backend == "openai":
        assert model.price.source.startswith("https://") and model.price.priced_on
        assert "seed" not in model.supports
        qualities = str(model.options.get("qualities", "")).split(",")
        for key, price in model.price.estimates.items():
            quality, _, size = key.partition(" ")
            assert quality in qualities and Decimal("0.001") < price < 1
            assert tuple(map(int, size.split("x"))) in sizes.native
    if model.backend == "miniature":
        assert model.price.basis is Basis.HARDWARE
    if model.status.successor:
        assert CATALOGUE.find(model.status.successor).status.state is State.LIVE
        assert model.status.successor in {each.id for each in CATALOGUE.models}


@pytest.mark.parametrize("model", CATALOGUE.models, ids=lambda model: model.id)
def test_every_fact_has_a_source_or_is_left_out(model: Model):
    facts = {
        "released": model.released,
        "licence": model.licence,
        "training_data": model.training_data,
        "compute": model.compute,
        "parameters": model.parameters,
        "defaults": model.defaults,
    }
    stated = {name for name, fact in facts.items() if fact}
    assert model.sources.keys() <= stated
    assert all(
        page.startswith("https://") or (name == "defaults" and page.startswith("diffusers."))
        for name, page in model.sources.items()
    )
    # The page of a model seldom says when it came out: a date names where it stands.
    assert (model.released is None) is ("released" not in model.sources)
    assert stated <= model.sources.keys() or "docs" in model.links or model.backend == "miniature"


def test_the_promised_models_are_there():
    ids = {model.id for model in CATALOGUE.models}
    assert {"miniature/diffusion", "miniature/masked", "local/sd-1.4", "local/sd-1.5"} <= ids
    assert {"local/sd-turbo", "local/sdxl", "local/sdxl-turbo", "local/flux.1-schnell"} <= ids
    assert {"local/z-image-turbo", "openai/gpt-image-2", "openai/gpt-image-2.6-flare"} <= ids
    dall_e = CATALOGUE.find("openai/dall-e-2")
    assert dall_e.status.state is State.RETIRED
    assert dall_e.price.per_image == Decimal("0.02")
    assert dall_e.status.successor


def test_unknown_models_name_the_nearest():
    with pytest.raises(UnknownModel, match="openai/gpt-image-2 "):
        CATALOGUE.find("opnai/gpt-image-2")
    with pytest.raises(UnknownModel, match=r"Did you mean local/sdxl\?"):
        CATALOGUE.find("sdxl")
    with pytest.raises(UnknownModel, match="lists them all"):
        CATALOGUE.find("xyz")


def test_models_that_are_not_listed():
    local = CATALOGUE.find("local/somebody/fine-tune")
    assert local.source == "somebody/fine-tune" and local.label == "fine-tune"
    assert {"seed", "guidance_scale"} <= local.supports
    assert CATALOGUE.find("local/models/x.safetensors").source == "models/x.safetensors"
    remote = CATALOGUE.find("openai/gpt-image-9")
    assert remote.source == "gpt-image-9" and not remote.price.per_token
    hub = CATALOGUE.find("huggingface/somebody/new-model")
    assert (hub.source, hub.label) == ("somebody/new-model", "new-model")
    for wrong in ("local/", "openai/", "craiyon/other"):
        with pytest.raises(UnknownModel):
            CATALOGUE.find(wrong)


def test_status_follows_the_calendar():
    model = CATALOGUE.find("openai/gpt-image-1.5")
    before, after = date(2026, 11, 30), date(2026, 12, 1)
    assert status_on(model, before).state is State.RETIRING
    assert status_on(model, after).state is State.RETIRED
    assert "will be switched off on 1 December 2026" in status_sentence(model, before)
    assert "was switched off on 1 December 2026" in status_sentence(model, after)
    assert status_sentence(CATALOGUE.find("local/sdxl"), after) == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (ENTRY + "colour = 3", "colour is not a key"),
        (ENTRY.replace('label = "B"\n', ""), "label is missing"),
        (ENTRY + "released = 2022", "released is 2022, but must be a date"),
        (ENTRY + 'most_count = "3"', "must be a whole number"),
        (ENTRY + "most_count = true", "must be a whole number"),
        (ENTRY + 'supports = ["speed"]', "supports names speed"),
        (ENTRY + 'supports = ["controls"]', "belong together"),
        (ENTRY + "sizes = { native = [[512]] }", "must have 2 parts"),
        (ENTRY + "sizes = { native = [] }", "at least one native size"),
        (ENTRY + 'status = { state = "gone" }', "must be one of live, retiring"),
        (ENTRY + 'status = { state = "retired" }', "needs the date"),
        (ENTRY + 'price = { basis = "usage" }', "needs its source and its date"),
        (ENTRY.replace("a/b", "ab"), "backend/name"),
        (ENTRY + ENTRY, "a/b is listed twice"),
        ("[[modell]]", "must hold"),
        (ENTRY + ENTRY.replace("[[model]]", "[[any]]"), "ends in"),
        ("][", "cannot be read"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, sentence: str):
    with pytest.raises(CatalogueError, match=sentence):
        read(tmp_path, text)


def test_prices_stay_exact(tmp_path: Path):
    price = 'price = { basis = "usage", source = "x", priced_on = 2026-01-01, '
    (model,) = read(tmp_path, ENTRY + price + "per_token = { text_input = 0.0000025 } }")
    assert model.price.per_token["text_input"] == Decimal("0.0000025")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_miniatures_defaults_are_those_they_are_scored_with(name: str):
    setting = SETTINGS[name]
    model = CATALOGUE.find(f"miniature/{name}")
    if "num_inference_steps" in model.supports:  # else it takes as many as its picture has tokens
        assert model.defaults["num_inference_steps"] == setting.steps
    assert model.defaults["guidance_scale"] == setting.guidance
    assert model.options.get("truncation_rate", 1.0) == setting.truncation_rate
    assert model.options.get("stage_guidance_scale") == setting.stage_guidance_scale
