"""Find notation in a prompt that only some programs understand.

Weights, tags and keywords of one program are plain words to all others, which draw them or ignore
them without a word. The notations, and where they are documented:

    (red:1.3)  ((red))  [red]  [red:blue:0.5]  [red|blue]  BREAK  AND  <lora:name:0.8>
        https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features
    ADDCOL  ADDROW  ADDBASE  ADDCOMM
        https://github.com/hako-mikan/sd-webui-regional-prompter
    {{red}}
        https://docs.novelai.net/image/strengthening-weakening
    embedding:name
        https://comfyanonymous.github.io/ComfyUI_examples/textual_inversion_embeddings
    red++  red--  (red blue)1.3  ("a", "b").and()
        https://github.com/damian0815/compel
    cat::2 dog  --ar 16:9
        https://docs.midjourney.com/hc/en-us/articles/32859204029709-Parameter-List

Single round or square brackets without a weight are punctuation in most prompts and are not
counted.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from enum import Enum
from typing import Final


class Syntax(Enum):
    """A notation that a program may understand."""

    LORA = "LoRA tags"
    WEIGHTS = "weights and keywords of Stable Diffusion's programs"
    MIDJOURNEY = "Midjourney's parameters"


LORA_TAG: Final = re.compile(r"<lora:([^<>:]+[^<>]*)>")
_NUMBER: Final = r"-?(?:\d+\.?\d*|\.\d+)"
_WEIGHT: Final = r"-?(?:\d(?:\.\d*)?|\.\d+)"
_TIME: Final = r"(?!\s*\d+\s*:)"  # (10:30) is none of it
_WEIGHTS: Final = (
    rf"\({_TIME}[^()]*:\s*{_WEIGHT}\s*\)",  # (red:1.3)
    r"(?<!\()\({2,}+[^()]*\){2,}",  # ((red))
    rf"\([^()]*\)(?:{_NUMBER}\b|[+-]+(?!\w)|\.(?:and|blend|swap)\()",  # (red)1.3, (red)++
    r"\b\w{2,}(?:\+{2,}|-{2,})(?![\w-])",  # red++, red--
    r"\[[^\[\]|]*\|[^\[\]]*\]",  # [red|blue]
    rf"\[{_TIME}[^\[\]]*:\s*{_NUMBER}\s*\]",  # [red:blue:0.5]
    r"(?<!\[)\[{2,}+[^\[\]]*\]{2,}",  # [[red]]
    r"(?<!\{)\{{2,}+[^{}|]*\}{2,}",  # {{red}}
    r"\\[()\[\]]",  # \(
    r"<\s*[A-Za-z]\w*\s*:[^<>\n]*>?",  # <lyco:name:0.8>, and LoRA tags with a slip
    r"(?<![\w/:])embedding:[^\s,()]+",
    r"\b(?:BREAK|AND|ADDCOL|ADDROW|ADDBASE|ADDCOMM)\b",
)
_MIDJOURNEY: Final = (
    rf"(?<=\S)::(?:{_NUMBER})?(?=\s|$)",  # cat::2 dog
    r"(?<!\S)--(?:ar|aspect|no|v|version|niji|s|stylize|c|chaos|seed|q|quality|iw|sref|cref|oref"
    r"|ow|sw|cw|sv|w|weird|tile|raw|style|stop|p|profile|hd|fast|relax|turbo|draft|r|repeat|exp)\b"
    r"(?:[ \t]+(?!--)[^\s,]+)?",
)
_PATTERNS: Final = {
    Syntax.WEIGHTS: re.compile("|".join(_WEIGHTS)),
    Syntax.MIDJOURNEY: re.compile("|".join(_MIDJOURNEY)),
}
_KEYWORD: Final = re.compile(r"[A-Z]+")
_MAX_SHOWN: Final = 4
_MAX_LENGTH: Final = 40


def unknown_syntax(text: str, understood: Collection[Syntax] = ()) -> list[str]:
    """Return the parts of `text` in a notation that is not among those understood, in order."""
    found = [] if Syntax.LORA in understood else [match[0] for match in LORA_TAG.finditer(text)]
    text = LORA_TAG.sub("\n", text)  # a break, so that nothing is found across it
    for syntax, pattern in _PATTERNS.items():
        if syntax not in understood:
            found += _matches(pattern, text)
    return list(dict.fromkeys(found))


def syntax_note(found: Sequence[str], reader: str, *, certain: bool = True) -> str:
    """Return the note for parts that `reader`, a model's label, reads as plain words.

    `certain` is False for servers that may understand more than their API says.
    """
    shown = [f"{each[: _MAX_LENGTH - 1]}…" if len(each) > _MAX_LENGTH else each for each in found]
    more = f" and {len(found) - _MAX_SHOWN} more" if len(found) > _MAX_SHOWN else ""
    listed = ", ".join(f"“{each}”" for each in shown[:_MAX_SHOWN])
    if certain:
        return f"{listed}{more} not understood: {reader} reads it as plain words"
    return f"{listed}{more} sent as written: few servers understand it, others read plain words"


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    for match in pattern.finditer(text):
        if not (_KEYWORD.fullmatch(match[0]) and _in_capitals(text, match)):
            yield match[0].strip()


def _in_capitals(text: str, match: re.Match[str]) -> bool:
    """Return whether the word stands among others in capitals, as in SALT AND PEPPER."""
    before = re.findall(r"\w+", text[max(0, match.start() - _MAX_LENGTH) : match.start()])[-2:]
    after = re.findall(r"\w+", text[match.end() : match.end() + _MAX_LENGTH])[:2]
    return any(len(word) > 1 and word.isupper() for word in before + after)
