"""What is said before a run starts: its time here, and the words that are lost on a model."""

from collections.abc import Generator
from pathlib import Path

import pytest

from backends.base import Request
from backends.registry import create
from compare.catalogue.availability import Availability
from compare.catalogue.catalogue import load
from compare.catalogue.forecast import RunTime, prompt_hints, run_time
from compare.records import RunSpec
from compare.settings import Settings
from compare.store.store import Store

LONG = "a red star " * 40


@pytest.fixture
def availability(home: Path) -> Generator[Availability]:
    settings = Settings(LINEUP_HOME=home)  # pyright: ignore[reportCallIssue]
    yield Availability(load(), create, settings, Store(home))


def hints(availability: Availability, prompt: str, *models: str) -> list[str]:
    return prompt_hints(availability, Request(prompt=prompt), models)


def test_a_prompt_that_is_read_whole_is_no_hint(availability: Availability) -> None:
    every = [model.id for model in load().models]
    assert hints(availability, "a red star", *every) == []
    assert hints(availability, "SALT AND PEPPER, (at noon), 3:2", *every) == []


def test_a_prompt_too_long_for_an_encoder_says_what_is_not_read(availability: Availability) -> None:
    clip = hints(availability, f"{LONG} at dusk", "local/sd-1.5", "local/sdxl", "local/flux.1-dev")
    assert clip == [
        "Stable Diffusion 1.5 and Stable Diffusion XL read 75 tokens of a prompt; this one has "
        "about 122. Not read: “a red star a red star a red star a red…”"
    ]
    (exact,) = hints(availability, "a red star " * 10 + "on a white background", "miniature/masked")
    assert exact == (
        "Miniature masked tokens reads 30 tokens of a prompt; this one has 34. "
        "Not read: “on a white background”"
    )


def test_long_words_may_be_too_long(availability: Availability) -> None:
    (hint,) = hints(availability, "extraordinarily " * 40, "local/sd-1.5")
    assert hint.endswith("this one has about 120: its end may not be read.")


def test_a_service_says_how_many_characters_it_takes(availability: Availability) -> None:
    (hint,) = hints(availability, "x" * 10_001, "stability/core", "openai/gpt-image-2")
    assert hint == (
        "Stable Image Core takes at most 10,000 characters of a prompt; this one has 10,001. "
        "Shorten it."
    )


def test_a_notation_is_named_with_the_models_that_read_plain_words(
    availability: Availability,
) -> None:
    found = hints(
        availability,
        "(a red star:1.3) BREAK <lora:glow:0.8> --ar 3:2",
        "a1111/current",
        "miniature/masked",
        "local/sdxl",
        "openai/gpt-image-2",
        "midjourney/v8.1",
    )
    assert found == [
        "“--ar 3:2”: plain words to A1111: loaded checkpoint.",
        "“(a red star:1.3)”, “BREAK”, “--ar 3:2”: plain words to Miniature masked tokens and "
        "Stable Diffusion XL.",
        "“<lora:glow:0.8>”, “(a red star:1.3)”, “BREAK”, “--ar 3:2”: plain words to gpt-image-2.",
        "“<lora:glow:0.8>”, “(a red star:1.3)”, “BREAK”: plain words to Midjourney V8.1.",
    ]


def test_models_of_one_lane_take_their_time_one_after_the_other(availability: Availability) -> None:
    specs = [RunSpec(Request(prompt="a"))]
    ids = ["miniature/masked", "miniature/cascade", "openai/gpt-image-2"]
    assert run_time(availability, specs, ids) is None
    availability.record_seconds("miniature/masked", 2.0)
    availability.record_seconds("miniature/cascade", 3.0)
    assert run_time(availability, specs, ids) == RunTime(5.0, 2, 3)
    availability.record_seconds("openai/gpt-image-2", 8.0)
    assert run_time(availability, specs, ids) == RunTime(8.0, 3, 3)
    assert run_time(availability, specs * 2, ids) == RunTime(10.0, 3, 3)


def test_one_machine_takes_longer_for_more_pictures_and_a_service_does_not(
    availability: Availability,
) -> None:
    availability.record_seconds("miniature/masked", 2.0)
    availability.record_seconds("openai/gpt-image-2", 8.0)
    specs = [RunSpec(Request(prompt="a", count=4))]
    assert run_time(availability, specs, ["miniature/masked"]) == RunTime(8.0, 1, 1)
    assert run_time(availability, specs, ["openai/gpt-image-2"]) == RunTime(8.0, 1, 1)
    availability.record_seconds("miniature/masked", 5.0, 4)  # as measured goes before reckoning
    assert run_time(availability, specs, ["miniature/masked"]) == RunTime(5.0, 1, 1)
