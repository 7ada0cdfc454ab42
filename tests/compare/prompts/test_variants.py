"""The prompts that a prompt with variants stands for, and what is said when it stands for none."""

import subprocess
import sys
from pathlib import Path

import pytest

from compare.prompts.template import BadVariants, holds_variants
from compare.prompts.variants import MOST, expand
from compare.prompts.wildcards import SHIPPED, Folder

WILDCARDS = {
    "colour": ("red", "blue"),
    "loud/colour": ("pink",),
    "thing": ("a {round|square} box", "__colour__ paint"),
    "empty": (),
    "self": ("a __self__",),
    "egg": ("__hen__",),
    "hen": ("an __egg__",),
    "broken": ("{a|b",),
    "price": ("$5 # 1", "50% off // now"),
}


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("a {red|blue} star", ["a red star", "a blue star"]),
        ("{ red | dark blue } star", ["red star", "dark blue star"]),
        ("a {|big }star", ["a star", "a bigstar"]),
        ("{a|{b|c}} {d|e}", ["a d", "a e", "b d", "b e", "c d", "c e"]),
        ("{red|red|blue}", ["red", "blue"]),
        ("{3::red|blue}", ["red", "blue"]),
        ("{2$$a|b|c}", ["a, b", "a, c", "b, a", "b, c", "c, a", "c, b"]),
        ("{1-2$$ and $$a|b}", ["a", "b", "a and b", "b and a"]),
        ("a __colour__ __loud/colour__", ["a red pink", "a blue pink"]),
        ("{2$$ & $$__colour__}", ["red & blue", "blue & red"]),
        ("__*colour__", ["red", "blue", "pink"]),
        ("__thing__", ["a round box", "a square box", "red paint", "blue paint"]),
        ("__price__", ["$5 # 1", "50% off // now"]),
        ("{{a|b}|c} {x}", ["a {x}", "b {x}", "c {x}"]),
        ("#1 // 50% of $5,  {a|b}\n\n(x:1.2)", [f"#1 // 50% of $5,  {x}\n\n(x:1.2)" for x in "ab"]),
        ("{نجمة|星⭐} <b>", ["نجمة <b>", "星⭐ <b>"]),
        ("\U000f0000 <0> {a|b}", ["\U000f0000 <0> a", "\U000f0000 <0> b"]),
    ],
)
def test_all_of_them_in_order_each_once(text: str, prompts: list[str]) -> None:
    assert list(expand(text, WILDCARDS)) == prompts
    assert holds_variants(text)


@pytest.mark.parametrize(
    "text",
    [
        "a red star",
        'a sign that says {"a": {"b": [1, 2]}}',
        "f(x) = {x : x > 0}, a|b",
        "{alone} {",
        "} {",
        "a __ b ____ c_d __x",
        "http://example.org/#top // 50% for $5",
        "",
    ],
)
def test_braces_and_signs_that_are_no_variants_stay_as_they_are(text: str) -> None:
    assert expand(text, WILDCARDS) == (text,)
    assert not holds_variants(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a {red|blue star", "no partner"),
        ("a red|blue} star", "no partner"),
        ("a {red|blue}} star", "no partner"),
        ("{a|b} {", "no partner"),
        ("a __cat__", r"no wildcard __cat__\. There are __broken__, __colour__"),
        ("an __empty__ one", "__empty__ is empty"),
        ("__self__", "includes itself: __self__ → __self__"),
        ("an __egg__", "includes itself: __egg__ → __hen__ → __egg__"),
        ("__broken__", r"In a line of the wildcard __broken__: A brace"),
        ("{a|b|c}{a|b|c}{a|b|c}{a|b|c}", "has 81 variants; 24 is the most"),
        ("{a|b}" * 11, "has 2,048 variants"),
        ("{a|b}" * 100, "more than a million variants"),
        ("{a|b}" * 5000, "Use fewer"),
        ("{a|" * 9 + "b" + "}" * 9, "8 deep"),
        ("{30$$a|b}", "At most 20"),
        ("{0::a|b}", "weight of 0"),
        ("{2$${a|a}|a} x", "more different options"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadVariants, match=sentence):
        expand(text, WILDCARDS)
    assert holds_variants(text)


def test_a_few_at_random_are_the_same_for_the_same_seed() -> None:
    text = "{a|b|c}{a|b|c}{a|b|c}{a|b|c}"
    few = expand(text, {}, most=6, seed=3)
    assert len(set(few)) == 6
    assert expand(text, {}, most=6, seed=3) == few
    assert expand(text, {}, most=6, seed=4) != few


def test_a_few_of_millions_take_no_longer_than_a_few() -> None:
    assert len(expand("{a|b}" * 100, {}, most=MOST, seed=1)) == MOST


def test_a_few_are_so_many_however_unlikely_some_are() -> None:
    assert sorted(expand("{9999::a|b|c|d}", {}, most=3)) == ["a", "b", "c"]


def test_there_are_never_more_than_there_are() -> None:
    assert expand("{a|b}", {}, most=9) == ("a", "b")


@pytest.mark.parametrize("most", [0, MOST + 1])
def test_how_many_has_bounds(most: int) -> None:
    with pytest.raises(BadVariants, match="between 1 and 24"):
        expand("{a|b}", {}, most=most)


def test_many_visitors_may_ask_at_the_same_moment() -> None:
    """In a process of its own: the package is only unsafe while it is used for the first time."""
    asked = (
        "import sys; sys.setswitchinterval(1e-6)\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from compare.prompts.variants import expand\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    made = list(pool.map(lambda _: expand('{2$$a|b|{c|d}} {e|f}', {}), range(16)))\n"
        "print(len(set(made)))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_wildcards_are_files_and_the_users_own_go_first(home: Path) -> None:
    folder = home / "wildcards" / "sea"
    folder.mkdir(parents=True)
    (folder / "fish.txt").write_text("\ufeff# not this\n\n  cod \nhake\n", encoding="utf-8")
    (home / "wildcards" / "colour.txt").write_text("mauve\n", encoding="utf-8")
    wildcards = Folder(home)
    assert expand("__colour__ __sea/fish__", wildcards) == ("mauve cod", "mauve hake")
    assert set(wildcards) > {"medium", "sea/fish"}


@pytest.mark.parametrize("data", [b"\xff\xfe\xfa", b"x" * 1_000_001])
def test_a_wildcard_file_that_cannot_be_read_is_a_sentence(home: Path, data: bytes) -> None:
    (home / "wildcards").mkdir(parents=True)
    (home / "wildcards" / "bad.txt").write_bytes(data)
    with pytest.raises(BadVariants, match=r"bad\.txt"):
        expand("__bad__ {a|b}", Folder(home))


def test_every_list_of_ours_can_be_drawn_from() -> None:
    wildcards = Folder(Path("nowhere"))
    assert {file.stem for file in SHIPPED.glob("*.txt")} == set(wildcards)
    for name in wildcards:
        assert len(expand(f"__{name}__", wildcards, most=3)) == 3
