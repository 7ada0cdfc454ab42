"""The families beside latent diffusion, drawn through the local backend as all others are."""

import inspect
import io
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from PIL import Image
from transformers import JanusForConditionalGeneration, JanusProcessor

from backends.base import (
    Config,
    Control,
    Loading,
    Model,
    Picture,
    Progress,
    Receipt,
    Request,
    Sizes,
)
from backends.errors import BadInput, MissingWeights
from backends.local import Local
from backends.local.families import discrete as discrete_family
from backends.local.families.latent import Latent
from backends.local.job import LocalJob, ModelSpec
from tests.backends.local.test_inference import events_of, pictures, pixels
from tests.backends.local.tiny import models as tiny
from tests.backends.local.tiny.autoregressive import autoregressive
from tests.backends.local.tiny.cascade import cascade
from tests.backends.local.tiny.discrete import discrete
from tests.servers.pictures import plain

ASK = Request(prompt="a red circle", seed=5, num_inference_steps=4)
SIZES = Sizes(native=((64, 64),), only_native=True)
STEPS = {"discrete": 4, "autoregressive": 16, "cascade": 4 + 2}
"""What `ASK` takes of each family: of picture tokens there are as many as there are, and of a
cascade's second stage half as many steps."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    here = tmp_path_factory.mktemp("families")
    base, upper = cascade(here / "cascade")
    return {
        "cascade": tiny.model(base, sizes=SIZES, options={"stages": str(upper)}),
        "discrete": tiny.model(discrete(here / "discrete"), sizes=SIZES),
        "autoregressive": tiny.model(autoregressive(here / "autoregressive"), sizes=SIZES),
    }


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncGenerator[Local, None]:
    backend = Local(Config(value=os.environ.get, home=tmp_path))
    yield backend
    await backend.aclose()


@pytest.mark.parametrize("family", STEPS)
async def test_every_step_is_told_and_shown(
    local: Local, models: dict[str, Model], family: str
) -> None:
    events = await events_of(local, models[family], ASK)
    steps = [event for event in events if isinstance(event, Progress) and event.step]
    told = [(event.step, event.steps) for event in steps]
    assert told == [(step, STEPS[family]) for step in range(1, STEPS[family] + 1)]
    assert steps[0].preview is not None
    shown = np.asarray(Image.open(io.BytesIO(steps[0].preview.data)))
    assert shown.shape[2] == 3 and min(shown.shape[:2]) >= 4
    assert isinstance(events[0], Loading)
    picture, receipt = events[-2:]
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    assert (picture.width, picture.height, picture.seed) == (64, 64, 5)
    assert receipt.generate


@pytest.mark.parametrize("family", STEPS)
async def test_several_pictures_are_what_single_runs_with_their_seeds_give(
    local: Local, models: dict[str, Model], family: str
) -> None:
    together = await pictures(local, models[family], replace(ASK, count=3))
    assert [picture.seed for picture in together] == [5, 6, 7]
    alone = [
        (await pictures(local, models[family], replace(ASK, seed=seed)))[0] for seed in (5, 6, 7)
    ]
    assert len({picture.data for picture in alone}) == 3
    for one, other in zip(together, alone, strict=True):
        # Sums in another order differ in the last bit, and now and then a pixel by one level.
        assert np.abs(pixels(one) - pixels(other)).max() <= 1


@pytest.mark.parametrize("family", STEPS)
async def test_prompt_and_guidance_change_the_picture(
    local: Local, models: dict[str, Model], family: str
) -> None:
    drawn = {
        picture.data
        for guidance in (1.0, 9.0)
        for prompt in ("a red circle", "zzz")
        for picture in await pictures(
            local, models[family], replace(ASK, guidance_scale=guidance, prompt=prompt)
        )
    }
    assert len(drawn) == 4


@pytest.mark.parametrize("family", STEPS)
async def test_a_stop_takes_effect_at_the_next_step_and_the_next_run_works(
    local: Local, models: dict[str, Model], family: str
) -> None:
    [whole] = await pictures(local, models[family], ASK)
    for step in (1, 2, STEPS[family]):
        async with aclosing(local.generate(models[family], ASK)) as events:
            async for event in events:
                assert not isinstance(event, Picture)
                if isinstance(event, Progress) and event.step == step:
                    break
    [again] = await pictures(local, models[family], ASK)
    assert again.data == whole.data


@pytest.mark.parametrize(
    ("family", "ignored"),
    [
        ("discrete", {"negative_prompt"}),
        ("autoregressive", {"negative_prompt", "num_inference_steps", "scheduler"}),
        ("cascade", set[str]()),
    ],
)
async def test_what_a_family_cannot_take_is_named(
    local: Local, models: dict[str, Model], family: str, ignored: set[str]
) -> None:
    scheduler = "DDIM" if "scheduler" in ignored else ""
    options = {"local": {"scheduler": scheduler}}
    asked = replace(ASK, negative_prompt="blue", options=options)
    *_, picture, receipt = await events_of(local, models[family], asked)
    assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
    notes = {name: honour.note for name, honour in receipt.honoured.items() if honour.note}
    assert set(notes) == ignored
    assert all("ignored" in note and "Tiny" in note for note in notes.values())
    text = Image.open(io.BytesIO(picture.data)).info["parameters"]
    assert ("blue" in text) == ("negative_prompt" not in ignored)
    assert ("Steps: 4" in text, "Sampler" in text) == (not scheduler, not scheduler)


@pytest.mark.parametrize("family", ["discrete", "autoregressive"])
async def test_a_start_picture_is_refused_where_there_is_no_such_form(
    local: Local, models: dict[str, Model], family: str
) -> None:
    [circle] = await pictures(local, models[family], ASK)
    with pytest.raises(BadInput, match="Tiny cannot start from a picture"):
        await events_of(local, models[family], replace(ASK, image=circle.data))
    assert await pictures(local, models[family], ASK)


@pytest.mark.parametrize("family", STEPS)
async def test_a_control_picture_is_refused(
    local: Local, models: dict[str, Model], family: str, tmp_path: Path
) -> None:
    [circle] = await pictures(local, models[family], ASK)
    net = tiny.controlnet(tmp_path / "net", tiny.diffusion(tmp_path / "tiny"))
    model = replace(models[family], controls={"*": str(net)})
    control = Control(image=circle.data, preprocessor="none")
    with pytest.raises(BadInput, match="Tiny cannot be steered"):
        await events_of(local, model, replace(ASK, controls=(control,)))
    assert await pictures(local, models[family], ASK)


async def test_half_precision_alone_is_enough(local: Local, tmp_path: Path) -> None:
    """The Hub has VQ-Diffusion's weights in safetensors only in half precision."""
    folder = discrete(tmp_path / "half", variant="fp16")
    assert not list(folder.glob("*/diffusion_pytorch_model.safetensors"))
    assert local.ready(tiny.model(folder)).state == "ready"
    assert await pictures(local, tiny.model(folder, sizes=SIZES), ASK)


async def test_a_cascade_starts_from_a_picture(local: Local, models: dict[str, Model]) -> None:
    model = models["cascade"]
    start = replace(ASK, image=plain(64, 64, b"\xe0\x20\x20"), strength=0.5)
    events = await events_of(local, model, start)
    steps = [(event.step, event.steps) for event in events if isinstance(event, Progress)][1:]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]  # two of four, and two of the second stage
    [red] = [event for event in events if isinstance(event, Picture)]
    [blue] = await pictures(local, model, replace(start, image=plain(64, 64, b"\x20\x20\xe0")))
    assert (pixels(red) != pixels(blue)).any()


async def test_the_catalogue_says_what_a_further_stage_takes(
    local: Local, models: dict[str, Model]
) -> None:
    model = models["cascade"]
    options = {**model.options, "stage_steps": 3, "stage_guidance_scale": 1.0}
    events = await events_of(local, replace(model, options=options), ASK)
    assert sum(isinstance(event, Progress) for event in events) == 1 + 4 + 3
    [usual] = await pictures(local, model, ASK)
    [own] = await pictures(
        local, replace(model, options={**model.options, "stage_guidance_scale": 1.0}), ASK
    )
    assert usual.data != own.data


async def test_a_further_stage_needs_no_second_text_encoder(local: Local, tmp_path: Path) -> None:
    base, upper = cascade(tmp_path, variant="fp16")
    for part in ("text_encoder", "tokenizer"):
        shutil.rmtree(upper / part)
    model = tiny.model(base, sizes=SIZES, options={"stages": str(upper)})
    assert local.ready(model).state == "ready"
    assert await pictures(local, model, ASK)
    shutil.rmtree(upper / "unet")
    assert local.ready(model).state == "not available"
    with pytest.raises(MissingWeights, match="its part 'unet' is missing"):
        await events_of(local, model, ASK)


async def test_a_first_stage_alone_draws_small_pictures(
    local: Local, models: dict[str, Model]
) -> None:
    [small] = await pictures(local, replace(models["cascade"], options={}), ASK)
    assert (small.width, small.height) == (16, 16)


async def test_schedulers_that_a_cascade_cannot_work_with_are_a_sentence(
    local: Local, models: dict[str, Model]
) -> None:
    for name in ("DPM++ 2M", "DPM++ 2S"):
        options = {"local": {"scheduler": name}}
        assert await pictures(local, models["cascade"], replace(ASK, options=options))
    with pytest.raises(BadInput, match=r"cannot work with the scheduler Euler.*Choose DDPM"):
        options = {"local": {"scheduler": "Euler"}}
        await events_of(local, models["cascade"], replace(ASK, options=options))


@pytest.mark.parametrize("offload", ["model", "group"])
@pytest.mark.parametrize(("family", "taken"), [("cascade", True), ("discrete", False)])
async def test_parts_wait_in_ram_or_the_card_says_that_they_cannot(
    models: dict[str, Model], tmp_path: Path, family: str, taken: bool, offload: str
) -> None:
    card = Local(Config(value={"LINEUP_DEVICE": "cpu:0"}.get, home=tmp_path))
    [whole] = await pictures(card, models[family], ASK)
    light = replace(ASK, options={"local": {"offload": offload}})
    for _ in range(2):
        *_, picture, receipt = await events_of(card, models[family], light)
        assert isinstance(picture, Picture) and isinstance(receipt, Receipt)
        assert picture.data == whole.data
        assert ("offload" in receipt.honoured) is not taken
    await card.aclose()


async def test_weights_in_several_files(local: Local, tmp_path: Path) -> None:
    folder = autoregressive(tmp_path / "janus", shard="300KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    model = tiny.model(folder, sizes=SIZES)
    assert local.ready(model).state == "ready"
    assert await pictures(local, model, ASK)
    sorted(folder.glob("*.safetensors"))[0].unlink()
    with pytest.raises(MissingWeights, match="some of its weights are missing"):
        await events_of(local, model, ASK)


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_tokens_are_sorted_only_where_some_are_left_out(
    models: dict[str, Model], rate: float
) -> None:
    pipeline: Any = discrete_family.read(Path(models["discrete"].source))
    pipeline.set_progress_bar_config(disable=True)

    def drawn() -> bytes:
        dice = torch.Generator().manual_seed(5)
        words = {"num_inference_steps": 4, "truncation_rate": rate, "generator": dice}
        return pipeline("a red circle", **words).images[0].tobytes()

    ours = drawn()
    del pipeline.truncate  # the library's own, which gives the same
    assert drawn() == ours


async def test_where_nothing_is_left_to_chance_the_tokens_are_the_librarys_own(
    local: Local, models: dict[str, Model]
) -> None:
    """Guidance that drowns the noise: what is largest then is largest without it."""
    model = models["autoregressive"]
    folder = Path(model.source)
    janus: Any = JanusForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    processor: Any = JanusProcessor.from_pretrained(folder, local_files_only=True)
    talk = [{"role": "user", "content": [{"type": "text", "text": ASK.prompt}]}]
    text = processor.apply_chat_template(talk, add_generation_prompt=True)
    told = processor(text=text, generation_mode="image", return_tensors="pt")
    tokens = janus.eval().generate(
        **told, generation_mode="image", do_sample=False, guidance_scale=1e6
    )
    plain = ((janus.decode_image_tokens(tokens)[0].clamp(-1, 1) + 1) * 127.5).detach().numpy()
    [ours] = await pictures(local, model, replace(ASK, guidance_scale=1e6))
    assert np.abs(pixels(ours) - plain).max() <= 1


class Qwen:
    """Takes down what it is called with; its signature is the real one's."""

    scheduler = None

    def __init__(self) -> None:
        self.words: dict[str, Any] = {}
        self.components: dict[str, Any] = {}

    def __call__(self, **words: Any) -> Any:
        self.words = words
        return SimpleNamespace(images=[Image.new("RGB", (64, 64))])

    __call__.__signature__ = inspect.signature(QwenImagePipeline.__call__)  # pyright: ignore


@pytest.mark.parametrize(("negative", "told"), [("", " "), ("blue", "blue")])
def test_qwen_image_is_guided_by_what_it_calls_guidance(negative: str, told: str) -> None:
    qwen = Qwen()
    recipe = ModelSpec(source="Qwen/Qwen-Image", label="Qwen-Image")
    request = Request(prompt="a cat", negative_prompt=negative, guidance_scale=4.5)
    pen = Latent().pipeline_call(
        qwen, None, LocalJob(spec=recipe, request=request, seed=1), lambda _: None
    )
    pen.draw(0, 1, (0, 1))
    assert qwen.words["true_cfg_scale"] == 4.5 and "guidance_scale" not in qwen.words
    assert qwen.words["negative_prompt"] == told
    assert not pen.ignored


@pytest.mark.parametrize(("guidance", "ignored"), [(None, False), (4.5, False), (1.0, True)])
def test_qwen_image_takes_a_negative_prompt_while_it_is_guided(
    guidance: float | None, ignored: bool
) -> None:
    recipe = ModelSpec(source="Qwen/Qwen-Image", label="Qwen-Image")
    request = Request(prompt="a cat", negative_prompt="blue", guidance_scale=guidance)
    pen = Latent().pipeline_call(
        Qwen(), None, LocalJob(spec=recipe, request=request, seed=1), lambda _: None
    )
    pen.draw(0, 1, (0, 1))
    assert ("negative_prompt" in pen.ignored) == ignored
