"""How many tokens a prompt has: exact with a tokenizer's file, about right without one."""

import json
from pathlib import Path

import pytest

from backends.base import Config, Model
from backends.paths import PROJECT
from backends.prompt_length import PromptLength, estimate, measure
from backends.registry import create
from compare.catalogue.catalogue import load

MINIATURES = PROJECT / "assets" / "miniatures"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a red star", 3),
        ("a lighthouse, at dusk.", 6),
        ("35mm, f/1.8", 9),
        ("赤い星", 3),
    ],
)
def test_words_marks_and_digits_are_about_a_token_each(text: str, tokens: int) -> None:
    length = estimate(text)
    assert length.tokens == tokens and not length.exact
    assert len(length.ends) <= tokens


def test_long_words_are_several_tokens_and_never_cut_for_certain() -> None:
    length = estimate("extraordinarily detailed")
    assert length.tokens > 2 and len(length.ends) == 2
    assert length.rest("extraordinarily detailed", 1) == "detailed"
    assert length.rest("extraordinarily detailed", 2) == ""


def test_what_is_not_read_begins_with_a_whole_word() -> None:
    text = "a red constellation at dusk"
    assert PromptLength(7, exact=True, ends=(1, 5, 9, 12, 19, 22, 27)).rest(text, 4) == (
        "constellation at dusk"
    )
    assert PromptLength(7, exact=True, ends=(1, 5, 9, 12, 19, 22, 27)).rest(text, 5) == "at dusk"


def test_a_file_that_is_no_tokenizer_counts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    assert measure("a star", file) is None
    file.write_text("{}")
    assert measure("a star", file) is None


def miniatures() -> list[Model]:
    return [model for model in load().models if model.backend == "miniature"]


@pytest.mark.parametrize("model", miniatures(), ids=lambda model: model.id)
def test_the_catalogue_says_what_the_tokenizer_of_a_miniature_takes(model: Model) -> None:
    from tokenizers import Tokenizer

    local = create("miniature", Config(value={}.get, home=Path()))
    length = local.prompt_length(model, "a red star, and  a blue ring")
    assert length.exact and length.tokens == len(length.ends) >= 8
    folder = PROJECT / model.source
    folder = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    most = json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"]
    marks = Tokenizer.from_file(str(folder / "tokenizer.json")).num_special_tokens_to_add(False)
    assert model.most_tokens == most - marks
