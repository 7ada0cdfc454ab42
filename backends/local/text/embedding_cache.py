"""Cache prompt embeddings between runs with the same prompt.

Every diffusers pipeline calls its own `encode_prompt` at the beginning of a run. During a run that
method is replaced by a cached one with the arguments as key, so the pipeline gets exactly what it
would compute, for any signature. Pipelines without `encode_prompt` are left unchanged.
"""

from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import torch

_MAX_BYTES: Final = 64 * 1024 * 1024
_PLAIN: Final = (str, int, float, bool, type(None), torch.device, torch.dtype)


@dataclass(frozen=True, slots=True)
class _CachedEmbedding:
    """A result, its bytes, and the version counters of its tensors at that time."""

    value: Any
    size: int
    versions: tuple[int, ...]


class EmbeddingCache:
    """The results of one loaded model, with a limit in bytes and LRU eviction.

    The cache is released with its model.
    """

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._entries: dict[Hashable, _CachedEmbedding] = {}  # in order of use, the latest last

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """The bytes of all entries."""
        return sum(entry.size for entry in self._entries.values())

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()

    def get_or_encode(self, key: Hashable, encode: Callable[[], Any]) -> Any:
        """Return the entry of `key`, or else the result of `encode`, which is then cached."""
        entry = self._entries.pop(key, None)
        if entry is not None and entry.versions == _versions(entry.value):  # not modified since
            self._entries[key] = entry
            return entry.value
        value = encode()
        if not _is_cacheable(value):
            return value
        size = sum(tensor.nbytes for tensor in _tensors(value))
        if size <= self._max_bytes:
            self._entries[key] = _CachedEmbedding(value, size, _versions(value))
            while self.size > self._max_bytes:
                del self._entries[next(iter(self._entries))]
        return value


@contextmanager
def cached_prompt_embeddings(
    pipeline: Any, embeddings: EmbeddingCache, state: Hashable = ()
) -> Generator[None]:
    """Cache the results of `pipeline.encode_prompt` in `embeddings` during a run.

    `state` is further input of the text encoder that belongs to the key: its adapters.
    """
    encode = getattr(type(pipeline), "encode_prompt", None)
    if encode is None:
        yield
        return

    @wraps(encode)
    def cached_encode(*arguments: Any, **keywords: Any) -> Any:
        def encode_now() -> Any:
            return encode(pipeline, *arguments, **keywords)

        key = _key((*arguments, *sorted(keywords.items())))
        if key is None:
            return encode_now()
        return embeddings.get_or_encode((type(pipeline), state, key), encode_now)

    pipeline.encode_prompt = cached_encode
    try:
        yield
    finally:
        del pipeline.encode_prompt


def _key(value: Any) -> Hashable | None:
    """Return `value` as a hashable key, None if it holds anything but plain values."""
    if isinstance(value, list | tuple):
        keys = tuple(map(_key, value))
        return None if None in keys else (type(value), *keys)
    return (type(value), value) if isinstance(value, _PLAIN) else None


def _is_cacheable(value: Any) -> bool:
    """Whether `answer` is made of tensors alone, so that its size can be counted."""
    if isinstance(value, list | tuple):
        return all(map(_is_cacheable, value))
    return value is None or isinstance(value, torch.Tensor)


def _versions(value: Any) -> tuple[int, ...]:
    return tuple(tensor._version for tensor in _tensors(value))


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
