"""How many tokens a prompt has, before a model is loaded.

With a tokenizer's file the count is exact. Without one it is estimated: a token is a word or a part
of one, a mark, or about a letter of Chinese or Japanese. Byte-pair encoding (CLIP, Qwen) and
SentencePiece (T5, Gemma) keep to that; how far they cut long and rare words differs. No tokenizer
joins words or marks, so there is also a number that a prompt has at least.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

_PIECE: Final = re.compile(r"[^\W\d_]+|\d+|[^\s\w]+|_+")
_IDEOGRAPH: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_COMMON_LETTERS: Final = 10
"""Words of up to so many letters are mostly one token each, longer ones about one more in four."""
_CACHED: Final = 16


@dataclass(frozen=True, slots=True)
class PromptLength:
    """The tokens of a prompt: exactly so many, or about so many.

    `ends` are the positions in the text after each token that there is for certain.
    """

    tokens: int
    exact: bool
    ends: Sequence[int]

    def rest(self, text: str, limit: int) -> str:
        """Return the end of `text` that is certainly not among its first `limit` tokens.

        It begins with a whole word, of which the first part may still be among them.
        """
        if len(self.ends) <= limit:
            return ""
        start = self.ends[limit - 1] if limit else 0
        if text[start : start + 1].isalnum():
            start = len(re.sub(r"\w+$", "", text[:start]))
        return text[start:].strip()


def estimate(text: str) -> PromptLength:
    """Return about how many tokens `text` has."""
    tokens, ends = 0, list[int]()
    for piece in _PIECE.finditer(text):
        tokens += _tokens(piece[0])
        ends.append(piece.end())
    return PromptLength(tokens, exact=False, ends=ends)


def measure(text: str, file: Path) -> PromptLength | None:
    """Return the tokens of `text` by a `tokenizer.json`, None if it cannot be read.

    Slow the first time for a large file: call it in a thread.
    """
    try:
        tokenizer = _tokenizer(str(file), file.stat().st_mtime_ns)
    except OSError:
        return None
    if tokenizer is None:
        return None
    encoding = tokenizer.encode(text, add_special_tokens=False)
    ends: list[int] = [end for _, end in encoding.offsets]
    return PromptLength(len(ends), exact=True, ends=ends)


def _tokens(piece: str) -> int:
    if piece[0].isdigit():
        return len(piece)
    if not piece[0].isalpha():
        return 1
    ideographs = len(_IDEOGRAPH.findall(piece))
    if ideographs:
        return ideographs + (len(piece) - ideographs) // 3
    if not piece.isascii():  # letters of two bytes and more are rarely joined to a whole word
        return max(1, (len(piece) + 1) // 2)
    return 1 + max(0, len(piece) - _COMMON_LETTERS + 3) // 4


@lru_cache(_CACHED)
def _tokenizer(file: str, _version: int) -> Any:
    """Return the tokenizer of a file without padding and truncation, None if there is none."""
    try:
        from tokenizers import Tokenizer

        tokenizer: Any = Tokenizer.from_file(file)
    except Exception:  # the library raises plain exceptions for files that it does not know
        return None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
