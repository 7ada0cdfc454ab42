"""LoRAs: put on a model in memory, with weights, and taken off again without a trace."""

import io
import os
import shutil
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from backends.base import Applied, Config, Control, Loading, Model, Picture, Receipt, Request
from backends.errors import BackendError, BadInput, MissingWeights, NotReady
from backends.local import Local
from tests.backends.local.test_inference import events_of, pictures
from tests.backends.local.tiny import adapters, transformers
from tests.backends.local.tiny import models as tiny
from tests.servers.pictures import plain

ASK = Request(prompt="a red circle", seed=5, num_inference_steps=2)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, and a folder for LoRAs."""
    here = tmp_path_factory.mktemp("here")
    model = tiny.diffusion(here / "model")
    adapters.lora(here / "loras" / "style.safetensors", model)
    adapters.lora(here / "loras" / "kohya.safetensors", model, kohya=True)
    adapters.lora(here / "loras" / "deep" / "Other.safetensors", model, ("unet",), seed=4)
    wide = tiny.diffusion(here / "wide", channels=64)
    adapters.lora(here / "loras" / "wide.safetensors", wide, ("unet",))
    flux = transformers.flux(here / "flux")
    adapters.lora(here / "loras" / "flux.safetensors", flux, ("transformer",))
    return here


@pytest.fixture
def model(here: Path) -> Model:
    return tiny.model(here / "model")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(here: Path) -> AsyncGenerator[Local, None]:
    values = {"LINEUP_LORAS": str(here / "loras")}
    backend = Local(Config(value=values.get, home=here / "home"))
    yield backend
    await backend.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bare(local: Local, here: Path) -> bytes:
    """What the model draws without any."""
    return (await drawn(local, tiny.model(here / "model"), ASK))[0]


def with_loras(loras: str, request: Request = ASK) -> Request:
    return replace(request, options={"local": {"loras": loras}})


async def drawn(local: Local, model: Model, request: Request) -> tuple[bytes, Receipt]:
    """The pixels, and the receipt."""
    events = await events_of(local, model, request)
    picture, receipt = events[-2:]
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    return pixels(picture), receipt


def pixels(picture: Picture) -> bytes:
    return Image.open(io.BytesIO(picture.data)).tobytes()


async def test_the_base_model_stays_and_is_itself_again(
    local: Local, model: Model, bare: bytes
) -> None:
    events = await events_of(local, model, with_loras("style"))
    assert not any(isinstance(event, Loading) for event in events)
    other, _ = await drawn(local, model, with_loras("other:0.5"))
    both, _ = await drawn(local, model, with_loras("style, other:0.5"))
    [styled] = [event for event in events if isinstance(event, Picture)]
    assert len({bare, pixels(styled), other, both}) == 4
    assert bare == (await drawn(local, model, ASK))[0]


async def test_a_weight_says_how_strongly(local: Local, model: Model, bare: bytes) -> None:
    whole, _ = await drawn(local, model, with_loras("style"))
    half, receipt = await drawn(local, model, with_loras("style:0.5"))
    none, _ = await drawn(local, model, with_loras("style:0"))
    assert len({whole, half, bare}) == 3 and none == bare
    assert receipt.honoured["loras"] == Applied("style:0.5", "style:0.5")


async def test_the_order_of_runs_changes_nothing(local: Local, model: Model) -> None:
    first, _ = await drawn(local, model, with_loras("other:0.7"))
    await drawn(local, model, with_loras("style, other:0.2"))
    await drawn(local, model, with_loras("style"))
    again, _ = await drawn(local, model, with_loras("other:0.7"))
    assert first == again


async def test_kohyas_names_mean_the_same_layers(local: Local, model: Model) -> None:
    ours, _ = await drawn(local, model, with_loras("style:0.8"))
    kohyas, _ = await drawn(local, model, with_loras("kohya:0.8"))
    assert ours == kohyas


async def test_a_text_encoders_layers_count_for_words_that_were_read_before(
    local: Local, model: Model, here: Path, bare: bytes
) -> None:
    file = adapters.lora(here / "words.safetensors", here / "model", ("text_encoder",), strength=2)
    worn, _ = await drawn(local, model, with_loras(str(file)))
    assert worn != bare
    assert bare == (await drawn(local, model, ASK))[0]


async def test_a_flow_model_wears_one_too(local: Local, here: Path) -> None:
    model = tiny.model(here / "flux")
    before, _ = await drawn(local, model, ASK)
    worn, _ = await drawn(local, model, with_loras("flux:2"))
    after, _ = await drawn(local, model, ASK)
    assert worn != before == after


@pytest.mark.parametrize("form", ["file", "folder", "Hub id", "file on the Hub", "written tag"])
async def test_all_ways_to_name_one_are_one(
    local: Local, model: Model, here: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    file, folder = here / "loras" / "style.safetensors", here / "a folder"
    folder.mkdir(exist_ok=True)
    shutil.copy(file, folder / "pytorch_lora_weights.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(here / "cache"))
    repository = here / "cache" / "models--someone--style"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text("0123abcd")
    (repository / "snapshots" / "0123abcd").mkdir(parents=True, exist_ok=True)
    shutil.copy(file, repository / "snapshots" / "0123abcd" / "best.safetensors")

    named, _ = await drawn(local, model, with_loras("STYLE:0.8"))
    words = {
        "file": f"{file}:0.8",
        "folder": f"{folder}:0.8",
        "Hub id": "someone/style:0.8",
        "file on the Hub": "someone/style/best.safetensors:0.8",
        "written tag": "<lora:style:0.8>",
    }
    assert named == (await drawn(local, model, with_loras(words[form])))[0]


async def test_a_picture_says_how_to_draw_it_again(local: Local, model: Model) -> None:
    [picture] = await pictures(local, model, with_loras("style:0.8, Other"))
    text = Image.open(io.BytesIO(picture.data)).info["parameters"]
    first, settings = text.split("\n")
    assert first == "a red circle <lora:style:0.8> <lora:Other:1>"
    assert 'Lora hashes: "style: ' in settings
    # What stands in the file is a prompt that draws the same.
    [again] = await pictures(local, model, replace(ASK, prompt=first))
    assert again.data == picture.data


async def test_two_weights_are_the_text_encoders_and_the_denoisers(
    local: Local, model: Model, here: Path, bare: bytes
) -> None:
    adapters.lora(here / "loras" / "text" / "words.safetensors", here / "model", ("text_encoder",))
    one, _ = await drawn(local, model, with_loras("style:0.5"))
    two, receipt = await drawn(local, model, replace(ASK, prompt="a red circle <lora:style:0.5:1>"))
    assert len({one, two, bare}) == 3
    assert receipt.honoured["loras"] == Applied("style:0.5:1", "style:0.5:1")
    # Of a LoRA that changes the denoiser alone, the first has nothing to act on, and vice versa.
    ours, receipt = await drawn(local, model, with_loras("other:0:0.7"))
    assert ours == (await drawn(local, model, with_loras("other:0.7")))[0]
    assert receipt.honoured["loras"].note.startswith("weight 0 of the LoRA 'Other' ignored")
    words, _ = await drawn(local, model, with_loras("words:0.7:0"))
    assert words == (await drawn(local, model, with_loras("words:0.7")))[0] != bare


async def test_a_picture_of_two_with_one_name_says_how_to_draw_it_again(
    local: Local, model: Model, here: Path
) -> None:
    for number, name in enumerate(("faces/twin", "places/twin"), start=1):
        adapters.lora(here / "loras" / f"{name}.safetensors", here / "model", seed=number)
    both = with_loras("faces/twin:0.5:0.8, places\\twin")
    [picture] = await pictures(local, model, both)
    first, _ = Image.open(io.BytesIO(picture.data)).info["parameters"].split("\n")
    assert first == "a red circle <lora:faces/twin:0.5:0.8> <lora:places/twin:1>"
    [again] = await pictures(local, model, replace(ASK, prompt=first))
    assert again.data == picture.data


async def test_several_pictures_a_control_and_a_start_wear_it_too(
    local: Local, model: Model, here: Path, tmp_path: Path
) -> None:
    net = tiny.controlnet(tmp_path / "net", here / "model")
    steered = replace(model, controls={"none": str(net)})
    asked = replace(
        ASK,
        count=2,
        image=plain(64, 64),
        strength=0.9,
        controls=(Control(image=plain(64, 64, b"\x20\x20\xe0"), preprocessor="none"),),
    )
    bare = await pictures(local, steered, asked)
    worn = await pictures(local, steered, with_loras("style", asked))
    assert len({pixels(picture) for picture in (*bare, *worn)}) == 4


async def test_a_file_that_was_trained_on_is_read_anew(
    local: Local, model: Model, here: Path, tmp_path: Path
) -> None:
    file = adapters.lora(tmp_path / "mine.safetensors", here / "model")
    first, _ = await drawn(local, model, with_loras(str(file)))
    adapters.lora(file, here / "model", seed=9)
    second, _ = await drawn(local, model, with_loras(str(file)))
    assert first != second


async def test_layers_that_find_no_place_are_counted_on_the_card(
    local: Local, model: Model, here: Path, tmp_path: Path
) -> None:
    weights = load_file(here / "loras" / "style.safetensors")
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    for half in ("lora_A", "lora_B"):
        weights[f"{layer.replace('blocks.0', 'blocks.7', 1)}.{half}.weight"] = weights[
            f"{layer}.{half}.weight"
        ].clone()
    save_file(weights, tmp_path / "more.safetensors")
    _, receipt = await drawn(local, model, with_loras(str(tmp_path / "more.safetensors")))
    assert "1 of " in receipt.honoured["loras"].note
    assert receipt.honoured["loras"].note.endswith("layers of the LoRA 'more' ignored: not in Tiny")


async def test_a_family_without_loras_says_so_on_the_card(local: Local, here: Path) -> None:
    model = tiny.model(transformers.pixart(here / "pixart"))
    events = await events_of(local, model, with_loras("style"))
    picture, receipt = events[-2:]
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    assert receipt.honoured["loras"] == Applied("style:1", None, "LoRA ignored: Tiny takes none")
    assert b"lora" not in picture.data


def _pickled(here: Path) -> str:
    (here / "loras" / "old.pt").write_bytes(b"\x80\x02}q\x00.")
    return "old"


def _many(here: Path) -> str:
    (here / "many").mkdir(exist_ok=True)
    for name in ("a", "b"):
        shutil.copy(here / "loras" / "style.safetensors", here / "many" / f"{name}.safetensors")
    return str(here / "many")


def _cut(here: Path) -> str:
    whole = (here / "loras" / "style.safetensors").read_bytes()
    (here / "cut.safetensors").write_bytes(whole[:5000])
    return str(here / "cut.safetensors")


def _none(here: Path) -> str:
    return str(adapters.embedding(here / "word.safetensors"))


@pytest.mark.parametrize(
    ("loras", "kind", "words"),
    [
        ("wide", BadInput, r"'wide' does not fit Tiny: its layer \S+ is (64|128) wide, the mod"),
        ("flux", BadInput, r"none of its \d+ layers is in this model \(transformer\..*another kin"),
        (
            "stile",
            BadInput,
            r"no LoRA 'stile' in .*LINEUP_LORAS.* There are .*style",
        ),
        ("style:strong", BadInput, "weight of the LoRA 'style' must be a number .* not strong"),
        ("style:nan", BadInput, "must be a number"),
        ("nowhere/nothing.safetensors", MissingWeights, "file of the LoRA 'nothing' is not there"),
        ("/nowhere/old.bin", NotReady, "pickle file, which can run code"),
        (_pickled, NotReady, "the LoRA 'old' are a pickle file"),
        (_many, BadInput, r"could be any of a.safetensors, b.safetensors. Name one"),
        (_cut, MissingWeights, "'cut' is damaged or cut short"),
        (_none, BadInput, "'word' is no LoRA"),
        ("someone/unknown", MissingWeights, "neither on this machine nor reachable"),
    ],
)
async def test_what_cannot_be_worn_is_a_sentence_and_the_next_run_is_unharmed(
    local: Local,
    model: Model,
    here: Path,
    bare: bytes,
    loras: Any,
    kind: type[BackendError],
    words: str,
) -> None:
    with pytest.raises(kind, match=words) as caught:
        await events_of(local, model, with_loras(loras if isinstance(loras, str) else loras(here)))
    assert type(caught.value) is kind
    assert str(here) not in str(caught.value)
    assert bare == (await drawn(local, model, ASK))[0]


async def test_the_usual_folder_is_lineups_own(model: Model, here: Path, tmp_path: Path) -> None:
    local = Local(Config(value=os.environ.get, home=tmp_path))
    with pytest.raises(BadInput, match=r"The folder is empty: put \.safetensors files into it"):
        await events_of(local, model, with_loras("style"))
    (tmp_path / "loras").mkdir()
    shutil.copy(here / "loras" / "style.safetensors", tmp_path / "loras")
    assert await pictures(local, model, with_loras("style"))
