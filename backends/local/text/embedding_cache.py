"""What a text encoder made of a prompt is kept for the next run with the same words.

Every diffusers pipeline calls its own `encode_prompt` at the beginning of a run. While a run
lasts, that call is answered from here where it was made before with the same arguments, so that
whatever the pipeline would have computed is what it gets, to the bit, and no signature of any
family needs to be known. A pipeline without `encode_prompt` encodes its prompt as always.
"""

from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import torch

_MOST: Final = 64 * 1024 * 1024
_PLAIN: Final = (str, int, float, bool, type(None), torch.device, torch.dtype)


@dataclass(frozen=True, slots=True)
class _Kept:
    """One answer, its bytes, and how often its tensors had been written to when it came."""

    answer: Any
    size: int
    versions: tuple[int, ...]


class EmbeddingCache:
    """The answers of one loaded model, at most so many bytes; the least recently used goes first.

    Belongs to the model and goes with it.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._kept: dict[Hashable, _Kept] = {}  # the most recently used last
        self.reused = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """The bytes that are held."""
        return sum(kept.size for kept in self._kept.values())

    def clear(self) -> None:
        """Let go of everything."""
        self._kept.clear()

    def answer(self, key: Hashable, encode: Callable[[], Any]) -> Any:
        """Return the answer under `key`, from `encode` where there is none."""
        kept = self._kept.pop(key, None)
        if kept is not None and kept.versions == _versions(kept.answer):  # nobody wrote into it
            self._kept[key] = kept
            self.reused += 1
            return kept.answer
        answer = encode()
        if not _known(answer):
            return answer
        size = sum(tensor.nbytes for tensor in _tensors(answer))
        if size <= self._most:
            self._kept[key] = _Kept(answer, size, _versions(answer))
            while self.size > self._most:
                del self._kept[next(iter(self._kept))]
        return answer


@contextmanager
def cached_prompt_embeddings(
    pipeline: Any, embeddings: EmbeddingCache, state: Hashable = ()
) -> Generator[None]:
    """Let `pipeline` answer from `embeddings` for the length of a run.

    `state` is whatever else changes what the text encoder says: the adapters that are on it.
    """
    encode = getattr(type(pipeline), "encode_prompt", None)
    if encode is None:
        yield
        return

    @wraps(encode)
    def remembered(*arguments: Any, **keywords: Any) -> Any:
        def afresh() -> Any:
            return encode(pipeline, *arguments, **keywords)

        key = _key((*arguments, *sorted(keywords.items())))
        if key is None:
            return afresh()
        return embeddings.answer((type(pipeline), state, key), afresh)

    pipeline.encode_prompt = remembered
    try:
        yield
    finally:
        del pipeline.encode_prompt


def _key(value: Any) -> Hashable | None:
    """`value` as a key, or None where it holds anything but plain values."""
    if isinstance(value, list | tuple):
        keys = tuple(map(_key, value))
        return None if None in keys else (type(value), *keys)
    return (type(value), value) if isinstance(value, _PLAIN) else None


def _known(answer: Any) -> bool:
    """Whether `answer` is made of tensors alone, so that its bytes can be counted."""
    if isinstance(answer, list | tuple):
        return all(map(_known, answer))
    return answer is None or isinstance(answer, torch.Tensor)


def _versions(answer: Any) -> tuple[int, ...]:
    return tuple(tensor._version for tensor in _tensors(answer))


def _tensors(answer: Any) -> Iterator[torch.Tensor]:
    if isinstance(answer, torch.Tensor):
        yield answer
    elif isinstance(answer, list | tuple):
        for item in answer:
            yield from _tensors(item)
