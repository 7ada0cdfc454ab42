"""Textual inversion: words of one's own, whose embeddings a file brings, for one run.

The pipeline gets a copy of its tokenizer that knows the words, and its text encoder a longer table
of embeddings; both are exchanged for the model's own again when the run ends, however it ends.
One word may stand for several embeddings: diffusers writes it out as `word word_1 word_2`.

Gal et al., An Image is Worth One Word, https://arxiv.org/abs/2208.01618
"""

import copy
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from diffusers.loaders.textual_inversion import TextualInversionLoaderMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import AddedToken

from backends.base import Applied
from backends.errors import BadInput, MissingWeights
from backends.local.adapters.references import EMBEDDING, file_of
from backends.local.job import Adapter

# What stands for a word where the file has none of its own: its name is the word then.
_NAMELESS: Final = frozenset({"emb_params", "*", "string_to_param.*"})
# Models with two text encoders: the embeddings of the first, then of the second.
_BOTH: Final = ("clip_l", "clip_g")


@dataclass(frozen=True, slots=True)
class _Reader:
    """A text encoder and the names under which a pipeline holds it and its tokenizer."""

    encoder: Any
    tokenizer: str

    @property
    def width(self) -> int:
        """How many numbers the embedding of a word has."""
        return int(self.encoder.get_input_embeddings().embedding_dim)


@contextmanager
def textual_inversions(
    pipeline: Any, embeddings: tuple[Adapter, ...], label: str
) -> Generator[dict[str, Applied]]:
    """Let `pipeline` know the words of `embeddings` for as long as the context lasts.

    Yields what became of them.

    Raises:
        BackendError: one is not there, is damaged, or does not fit.
    """
    if not embeddings:
        yield {}
        return
    readers = _readers(pipeline)
    if not readers:
        note = f"embedding ignored: {label} takes none"
        yield {"embeddings": Applied(", ".join(each.name for each in embeddings), None, note)}
        return
    words: dict[str, list[torch.Tensor]] = {}
    for each in embeddings:
        word, vectors = _read(each)
        if [vector.shape[1] for vector in vectors] != [reader.width for reader in readers]:
            has, wants = (
                " and ".join(str(width) for width in widths)
                for widths in ([v.shape[1] for v in vectors], [r.width for r in readers])
            )
            raise BadInput(
                f"The embedding '{each.name}' does not fit {label}: it has {has} numbers a word, "
                f"the model {wants}. It was made for another kind of model."
            )
        words[word] = vectors
    with ExitStack() as stack:
        for index, reader in enumerate(readers):
            own = {word: vectors[index] for word, vectors in words.items()}
            stack.enter_context(_taught(pipeline, reader, own, label))
        known = ", ".join(words)
        yield {"embeddings": Applied(known, known)}


@contextmanager
def _taught(
    pipeline: Any, reader: _Reader, words: dict[str, torch.Tensor], label: str
) -> Generator[None]:
    tokenizer, table = getattr(pipeline, reader.tokenizer), reader.encoder.get_input_embeddings()
    taught, weight = copy.deepcopy(tokenizer), table.weight.detach()
    for word, vectors in words.items():
        for index, vector in enumerate(vectors.to(weight)):
            name = f"{word}_{index}" if index else word
            if name in taught.get_vocab():
                raise BadInput(
                    f"'{name}' is a word that {label} knows already. Give the embedding another: "
                    "put a colon and the word behind it."
                )
            taught.add_tokens(AddedToken(name, single_word=True))
            number = taught.convert_tokens_to_ids(name)
            blank = weight.new_zeros(max(0, number + 1 - len(weight)), weight.shape[1])
            weight = torch.cat([weight, blank])
            weight[number] = vector
    longer = torch.nn.Embedding.from_pretrained(weight)
    if hasattr(table, "_diffusers_hook"):  # group offload, whose hooks fetch the old layer alone
        longer.to(pipeline._execution_device)
    setattr(pipeline, reader.tokenizer, taught)
    reader.encoder.set_input_embeddings(longer)
    try:
        yield
    finally:
        reader.encoder.set_input_embeddings(table)
        setattr(pipeline, reader.tokenizer, tokenizer)


def _readers(pipeline: Any) -> list[_Reader]:
    """The text encoders that learn words: CLIP's, which every family has that does."""
    if not isinstance(pipeline, TextualInversionLoaderMixin):
        return []
    found: list[_Reader] = []
    for ending in ("", "_2"):
        encoder = getattr(pipeline, f"text_encoder{ending}", None)
        if encoder is not None and "CLIP" in type(encoder).__name__:
            found.append(_Reader(encoder, f"tokenizer{ending}"))
    return found


def _read(embedding: Adapter) -> tuple[str, list[torch.Tensor]]:
    """The word, and its embeddings for each text encoder: (how many, width)."""
    file = file_of(embedding, EMBEDDING)
    if file is None:
        raise MissingWeights(f"The embedding '{embedding.name}' is not on this machine.")
    try:
        tensors = load_file(str(file))
    except SafetensorError as error:
        raise MissingWeights(
            f"The file of the embedding '{embedding.name}' is damaged or cut short. Delete it and "
            "download it again."
        ) from error
    names = _BOTH if set(_BOTH) == tensors.keys() else (*tensors,)
    vectors = [torch.atleast_2d(tensors[name]) for name in names]
    if (len(vectors) > 1 and names != _BOTH) or any(vector.ndim != 2 for vector in vectors):
        raise BadInput(
            f"The file '{embedding.name}' is no embedding: it holds other weights than those of a "
            "word. A LoRA belongs into its own field; a whole model is chosen as a model."
        )
    named = names != _BOTH and names[0] not in _NAMELESS
    return embedding.token or (names[0] if named else file.stem), vectors
