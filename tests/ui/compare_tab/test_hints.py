"""What is said before a run starts: what a model will not read or understand, and the time."""

import pytest

from backends.base import Model
from compare.catalogue import catalogue
from ui.compare_tab import hints

CATALOGUE = catalogue.load()
SDXL, FLUX = CATALOGUE.find("local/sdxl"), CATALOGUE.find("local/flux.1-dev")
OPENAI, A1111 = CATALOGUE.find("openai/gpt-image-2"), CATALOGUE.find("a1111/any")
MIDJOURNEY = next(each for each in CATALOGUE.models if each.backend == "midjourney")
LONG = "a lighthouse at dusk, painted in oil, " * 12


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a fox", 2), ("a fox, red", 4), ("extraordinarily", 3), ("赤い星", 3)],
)
def test_tokens_are_estimated(text: str, tokens: int) -> None:
    assert hints.estimated_tokens(text) == tokens


def test_who_does_not_read_all_of_a_long_prompt_is_named() -> None:
    words = hints.too_long(LONG, [SDXL, FLUX, OPENAI])
    assert "Stable Diffusion XL reads the first 75" in words
    assert "FLUX" not in words
    assert hints.too_long("a short prompt", [SDXL, FLUX, OPENAI]) == ""
    assert "takes no prompt of 40,000 characters" in hints.too_long("a" * 40_000, [OPENAI])


@pytest.mark.parametrize(
    ("prompt", "model", "said"),
    [
        ("a (red:1.3) fox", SDXL, "“(red:1.3)”"),
        ("a (red:1.3) fox", A1111, ""),
        ("a fox <lora:glow:0.8>", SDXL, ""),
        ("a fox <lora:glow:0.8>", OPENAI, "“<lora:glow:0.8>”"),
        ("a fox BREAK a wolf", OPENAI, "“BREAK”"),
        ("a fox --ar 3:2", MIDJOURNEY, ""),
        ("a fox", OPENAI, ""),
    ],
)
def test_notation_that_a_model_reads_as_words_is_named(
    prompt: str, model: Model, said: str
) -> None:
    words = hints.not_understood(prompt, [model])
    assert words.startswith(said) if said else words == ""
    assert (model.label in words) == bool(said)


def test_the_models_of_a_lane_draw_one_after_another() -> None:
    times = {"a": ("gpu", 2.0), "b": ("gpu", 3.0), "c": ("api", 4.0)}
    assert hints.time_needed(times) == "usually 5.0 s of drawing here"
    some = {**times, "d": ("api2", None)}
    assert hints.time_needed(some) == "usually 5.0 s of drawing here for 3 of them"
    assert hints.time_needed({"d": ("api2", None)}) == ""


def test_hints_cannot_become_markup() -> None:
    assert "<b>" not in hints.lines("<b>")
    assert hints.lines("", "") == ""
