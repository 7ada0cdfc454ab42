"""Notation that a model reads as plain words is found in a prompt, and prose is left alone."""

import time
from dataclasses import replace

import pytest

from backends.base import Model, Request
from backends.fit import fit
from backends.prompt_syntax import Syntax, unknown_syntax

PLAIN = Model(id="test/plain", label="Plain", family="test", source="plain")
ABLE = replace(PLAIN, supports=frozenset({"negative_prompt"}))


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a (red:1.3) circle", ["(red:1.3)"]),
        ("a (red circle :.5), (a:-1)", ["(red circle :.5)", "(a:-1)"]),
        ("a photo (of (red:1.2) things)", ["(red:1.2)"]),
        ("a ((red)) circle, (((blue)))", ["((red))", "(((blue)))"]),
        ("a [[red]] circle, {{blue}}", ["[[red]]", "{{blue}}"]),
        ("a [red:blue:0.5] circle", ["[red:blue:0.5]"]),
        ("a [red::10] circle, [:hat:.5]", ["[red::10]", "[:hat:.5]"]),
        ("a [red|blue|green] circle", ["[red|blue|green]"]),
        ("a red circle BREAK a blue square", ["BREAK"]),
        ("a dog AND a cat ADDCOL a tree", ["AND", "ADDCOL"]),
        ("a red++ circle, (wide eyes)1.3, (small)--", ["(wide eyes)1.3", "(small)--", "red++"]),
        ("<lyco:style:0.8> <hypernet:x:1>", ["<lyco:style:0.8>", "<hypernet:x:1>"]),
        ("a circle <Lora:style:0.8>", ["<Lora:style:0.8>"]),
        ("a circle <lora:style:0.8", ["<lora:style:0.8"]),
        ("a circle < lora : style:0.8>", ["< lora : style:0.8>"]),
        ("a circle <lora:char/style:0.8:0.5>", ["<lora:char/style:0.8:0.5>"]),
        ("embedding:easynegative a circle", ["embedding:easynegative"]),
        ("miku \\(vocaloid\\)", ["\\(", "\\)"]),
        ("hot::2 dog::-.5", ["::2", "::-.5"]),
        ("a cat --ar 16:9 --no dogs --raw", ["--ar 16:9", "--no dogs", "--raw"]),
    ],
)
def test_notation_is_found(prompt: str, found: list[str]) -> None:
    assert sorted(unknown_syntax(prompt)) == sorted(found)


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat (orange) on a mat [sic]",
        "a station clock at (10:30), a screen of [16:9]",
        "a sign that says SALT AND PEPPER, another: TAKE A BREAK",
        "the hero--the brave one--stands; C++ and std::vector on a screen",
        "a map at scale 1:1000 (see: 16) and a <mascot>",
        "<svg> and a <b>bold</b> word, 3 < 4: true > 2",
        "a {red|blue} circle, a {round {2$$red|blue}} square",
        "a well-known man - with a hat -- and a dog",
        "an embedding of jewels, an Embedding: gold",
    ],
)
def test_prose_is_left_alone(prompt: str) -> None:
    assert unknown_syntax(prompt) == []


def test_a_program_is_spared_what_it_understands() -> None:
    prompt = "a (red:1.3) circle <lora:style:0.8> --ar 16:9"
    assert unknown_syntax(prompt, (Syntax.LORA, Syntax.WEIGHTS)) == ["--ar 16:9"]
    assert unknown_syntax(prompt, (Syntax.LORA,)) == ["(red:1.3)", "--ar 16:9"]
    assert unknown_syntax(prompt, (Syntax.MIDJOURNEY,)) == ["<lora:style:0.8>", "(red:1.3)"]
    # A tag with a slip is none, whoever reads tags.
    assert unknown_syntax("a <lora:style:0.8", (Syntax.LORA,)) == ["<lora:style:0.8"]


def test_the_card_names_it() -> None:
    honoured = fit(PLAIN, Request(prompt="a ((red)) circle <lora:style:1>")).honoured
    assert honoured["prompt_syntax"].used is None
    assert honoured["prompt_syntax"].note == (
        "“<lora:style:1>”, “((red))” not understood: Plain reads it as plain words"
    )
    assert "prompt_syntax" not in fit(PLAIN, Request(prompt="a red circle")).honoured


def test_long_lists_are_cut() -> None:
    prompt = ", ".join(f"(word number {each} of a great many more words:1.3)" for each in range(9))
    note = fit(PLAIN, Request(prompt=prompt)).honoured["prompt_syntax"].note
    assert "…” and 5 more not understood" in note and len(note) < 300


def test_a_negative_prompt_counts_where_there_is_one() -> None:
    request = Request(prompt="a circle", negative_prompt="embedding:easynegative")
    assert "easynegative" in fit(ABLE, request).honoured["prompt_syntax"].note
    assert "prompt_syntax" not in fit(PLAIN, request).honoured


def test_nobody_reads_lora_tags_in_a_negative_prompt() -> None:
    request = Request(prompt="a circle <lora:a:1>", negative_prompt="<lora:bad:0.5>, (red:1.3)")
    note = fit(ABLE, request, syntax=(Syntax.LORA, Syntax.WEIGHTS)).honoured["prompt_syntax"].note
    assert note.startswith("“<lora:bad:0.5>” not understood")


def test_servers_of_ones_own_may_know_more_than_their_api() -> None:
    model = replace(PLAIN, id="openai@home/plain")
    note = fit(model, Request(prompt="a (red:1.3) circle")).honoured["prompt_syntax"].note
    assert note.startswith("“(red:1.3)” sent as written")


@pytest.mark.parametrize(
    "part", ["(", "[", "[|", "((", "<a", "a", "+", "AND ", "<lora:", "(a:", "\\("]
)
def test_no_prompt_takes_long(part: str) -> None:
    before = time.process_time()
    unknown_syntax(part * (20_000 // len(part)))
    assert time.process_time() - before < 2
