"""A prompt out of its parts."""

import pytest

from compare.prompts.builder import ComposedPrompt, Parts, compose


def test_all_parts_make_one_prompt_from_the_subject_to_the_finish() -> None:
    parts = Parts(
        subject="a lighthouse on a cliff",
        medium="an oil painting",
        style="impressionist",
        lighting="moonlight",
        lens="50mm lens",
        composition="wide shot",
        quality="fine texture",
        negative="text, watermark",
    )
    assert compose(parts) == ComposedPrompt(
        "an oil painting of a lighthouse on a cliff, impressionist, moonlight, 50mm lens, "
        "wide shot, fine texture",
        "text, watermark",
    )


@pytest.mark.parametrize(
    ("parts", "prompt"),
    [
        (Parts(), ""),
        (Parts(subject="a fox"), "a fox"),
        (Parts(medium="a photograph", style="film noir"), "a photograph, film noir"),
        (Parts(subject="a fox", medium="an etching of"), "an etching of a fox"),
        (Parts(subject=" a  red\nfox, ", style=",; art deco."), "a red fox, art deco"),
        (Parts(subject="a fox", lighting="Fog", composition="fog"), "a fox, Fog"),
        (Parts(subject="a {red|blue} fox", quality="__quality__"), "a {red|blue} fox, __quality__"),
    ],
)
def test_what_is_missing_or_said_twice_leaves_no_trace(parts: Parts, prompt: str) -> None:
    assert compose(parts).prompt == prompt


@pytest.mark.parametrize(
    ("typed", "negative"),
    [
        ("no people, without text , not blurry", "people, text, blurry"),
        ("text,, Text,", "text"),
        ("{noise|grain, dust}, nothing", "{noise|grain, dust}, nothing"),
        ("{", "{"),
    ],
)
def test_a_negative_prompt_says_what_should_not_be_there_once(typed: str, negative: str) -> None:
    assert compose(Parts(negative=typed)).negative_prompt == negative
