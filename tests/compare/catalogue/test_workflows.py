"""The user's own ComfyUI workflows stand in the catalogue, each as its marked places say."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from backends.base import Request
from compare.catalogue.catalogue import Catalogue
from compare.catalogue.user_models import load_all
from compare.lineup import build
from compare.records import RunSpec
from compare.runs.validation import problems
from compare.settings import Settings
from tests.backends.comfyui.case import keep, workflow


def own(catalogue: Catalogue) -> list[str]:
    """The names of the workflows that the catalogue lists."""
    models = [model for model in catalogue.models if model.backend == "comfyui"]
    return [model.source for model in models if model.id != "comfyui/first"]


def test_each_workflow_is_a_model(home: Path) -> None:
    keep(home, "mine", workflow(sampler="lineup: seed, steps", size="lineup: size"))
    keep(home, "plain", workflow())
    keep(home, "broken", workflow(prompt=""))
    keep(home, "first", workflow())
    catalogue = load_all(Settings())
    listed = [model for model in catalogue.models if model.backend == "comfyui"]
    assert [model.id for model in listed] == [
        "comfyui/first",
        "comfyui/broken",
        "comfyui/mine",
        "comfyui/plain",
    ]
    mine, plain = catalogue.find("comfyui/mine"), catalogue.find("comfyui/plain")
    assert mine.supports == {"seed", "count", "num_inference_steps"}
    assert mine.sizes.native == ((128, 96),) and not mine.sizes.only_native
    assert mine.defaults == {"num_inference_steps": 12}
    assert plain.supports == frozenset() and plain.sizes.only_native
    assert "has no place for the prompt" in catalogue.find("comfyui/broken").note
    assert problems(RunSpec(Request(prompt="a lighthouse")), ["comfyui/mine"], catalogue) == {}


def test_without_a_folder_nothing_is_added(home: Path) -> None:
    assert not home.exists()
    assert load_all(Settings()).find("comfyui/anything").note.startswith("Not in the catalogue")


async def test_what_comes_goes_and_changes_is_seen_by_all_at_the_next_look(home: Path) -> None:
    lineup = build(Settings())
    try:
        for name in ("mine", "second"):
            keep(home, name, workflow())
        assert own(lineup.catalogue) == []
        await lineup.catalogue.refresh()
        assert own(lineup.catalogue) == ["mine", "second"]
        assert lineup.availability.model("comfyui/mine").supports == frozenset()
        keep(home, "mine", workflow(sampler="lineup: seed, steps"))
        (home / "workflows" / "second.json").unlink()
        await lineup.catalogue.refresh()
        assert own(lineup.catalogue) == ["mine"]
        assert "num_inference_steps" in lineup.availability.model("comfyui/mine").supports
        assert lineup.availability.model("comfyui/second").note.startswith("Not in the catalogue")
    finally:
        await lineup.aclose()


async def test_another_look_reads_no_file_that_is_as_it_was(home: Path) -> None:
    keep(home, "mine", workflow())
    catalogue = load_all(Settings())
    before = catalogue.models
    await catalogue.refresh()
    assert catalogue.models is before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "[" * 100_000,
        json.dumps(workflow(size="lineup: \ud800")),
        json.dumps(workflow(size=r"lineup: width (no such input)")),
    ],
    ids=["empty", "no text", "deep", "half a letter in a mark", "a mark without its input"],
)
async def test_a_broken_file_is_one_row_that_says_so(home: Path, text: str) -> None:
    catalogue = load_all(Settings())
    keep(home, "broken", text)
    keep(home, "whole", workflow())
    await catalogue.refresh()
    assert own(catalogue) == ["broken", "whole"]
    note = catalogue.find("comfyui/broken").note
    assert note.startswith("The workflow broken ") and note.encode()


def test_what_is_no_file_or_has_no_name_for_a_page_is_no_workflow(home: Path) -> None:
    catalogue = load_all(Settings())
    folder = home / "workflows"
    (folder / "folder.json").mkdir(parents=True)
    (folder / "nowhere.json").symlink_to(folder / "gone")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.json")).write_text(json.dumps(workflow()))
    asyncio.run(catalogue.refresh())
    assert own(catalogue) == []


def test_a_folder_that_is_none_or_goes_leaves_the_catalogue_whole(home: Path) -> None:
    home.mkdir()
    (home / "workflows").write_text("not a folder")
    catalogue = load_all(Settings())
    listed = len(catalogue.models)
    (home / "workflows").unlink()
    keep(home, "mine", workflow())
    asyncio.run(catalogue.refresh())
    assert own(catalogue) == ["mine"] and len(catalogue.models) == listed + 1
    (home / "workflows").rename(home / "elsewhere")
    asyncio.run(catalogue.refresh())
    assert own(catalogue) == [] and len(catalogue.models) == listed
