"""Textual inversion: additional tokens with embeddings from files, for one run.

The pipeline gets a copy of its tokenizer with the tokens, and its text encoder a longer table of
embeddings; both are replaced by the original ones when the run ends, also by an exception. A token
may stand for several embeddings: diffusers expands it to `word word_1 word_2`.

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

from backends.base import Applied, Request
from backends.errors import BadInput, MissingWeights
from backends.local.adapters.folders import EMBEDDING
from backends.local.adapters.references import file_of
from backends.local.job import Adapter

# Placeholder keys of files without a token: the file's name is the token then.
_NAMELESS: Final = frozenset({"emb_params", "*", "string_to_param.*"})
# Keys for models with two text encoders: the first one's embeddings, then the second one's.
_TWO_ENCODERS: Final = ("clip_l", "clip_g")


@dataclass(frozen=True, slots=True)
class _TextEncoder:
    """A text encoder and the attribute name of its tokenizer in the pipeline."""

    model: Any
    tokenizer: str

    @property
    def width(self) -> int:
        """The dimensions of a token's embedding."""
        return int(self.model.get_input_embeddings().embedding_dim)


@contextmanager
def textual_inversions(
    pipeline: Any, embeddings: tuple[Adapter, ...], request: Request, label: str
) -> Generator[dict[str, Applied]]:
    """Add the tokens of `embeddings` to `pipeline` during the context.

    Yields the tokens that the prompts of `request` use, and notes about embeddings without effect.

    Raises:
        BackendError: a file is missing or damaged, or does not fit.
    """
    if not embeddings:
        yield {}
        return
    encoders = _text_encoders(pipeline)
    if not encoders:
        note = f"embedding ignored: {label} takes none"
        yield {"embeddings": Applied(", ".join(each.name for each in embeddings), None, note)}
        return
    tokens: dict[str, list[torch.Tensor]] = {}
    for each in embeddings:
        token, vectors = _load_embedding(each)
        if [vector.shape[1] for vector in vectors] != [encoder.width for encoder in encoders]:
            has, wants = (
                " and ".join(str(width) for width in widths)
                for widths in ([v.shape[1] for v in vectors], [r.width for r in encoders])
            )
            raise BadInput(
                f"The embedding '{each.name}' does not fit {label}: it has {has} numbers a word, "
                f"the model {wants}. It was made for another kind of model."
            )
        tokens[token] = vectors
    with ExitStack() as stack:
        for index, encoder in enumerate(encoders):
            vectors_of_encoder = {token: vectors[index] for token, vectors in tokens.items()}
            stack.enter_context(_extended_vocabulary(pipeline, encoder, vectors_of_encoder, label))
        used = [token for token in tokens if _is_used(pipeline, encoders[0], token, request)]
        unused = ", ".join(f"“{token}”" for token in tokens if token not in used)
        note = f"embedding ignored: the prompt does not have its word {unused}" if unused else ""
        yield {"embeddings": Applied(", ".join(tokens), ", ".join(used) or None, note)}


def _is_used(pipeline: Any, encoder: _TextEncoder, token: str, request: Request) -> bool:
    """Whether the tokenizer finds the token in a prompt, whatever case and spaces it ignores."""
    tokenizer: Any = getattr(pipeline, encoder.tokenizer)
    number = tokenizer.convert_tokens_to_ids(token)
    texts = (request.prompt, request.negative_prompt)
    return any(number in tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)


@contextmanager
def _extended_vocabulary(
    pipeline: Any, encoder: _TextEncoder, tokens: dict[str, torch.Tensor], label: str
) -> Generator[None]:
    tokenizer, table = getattr(pipeline, encoder.tokenizer), encoder.model.get_input_embeddings()
    extended, weight = copy.deepcopy(tokenizer), table.weight.detach()
    for token, vectors in tokens.items():
        for index, vector in enumerate(vectors.to(weight)):
            name = f"{token}_{index}" if index else token
            if name in extended.get_vocab():
                raise BadInput(
                    f"'{name}' is a word that {label} knows already. Give the embedding another: "
                    "put a colon and the word behind it."
                )
            extended.add_tokens(AddedToken(name, single_word=True))
            number = extended.convert_tokens_to_ids(name)
            blank = weight.new_zeros(max(0, number + 1 - len(weight)), weight.shape[1])
            weight = torch.cat([weight, blank])
            weight[number] = vector
    table_extended = torch.nn.Embedding.from_pretrained(weight)
    if hasattr(table, "_diffusers_hook"):  # group offload, whose hooks move only the original layer
        table_extended.to(pipeline._execution_device)
    setattr(pipeline, encoder.tokenizer, extended)
    encoder.model.set_input_embeddings(table_extended)
    try:
        yield
    finally:
        encoder.model.set_input_embeddings(table)
        setattr(pipeline, encoder.tokenizer, tokenizer)


def _text_encoders(pipeline: Any) -> list[_TextEncoder]:
    """Return the text encoders that support textual inversion: all of them are CLIP's."""
    if not isinstance(pipeline, TextualInversionLoaderMixin):
        return []
    encoders: list[_TextEncoder] = []
    for ending in ("", "_2"):
        encoder = getattr(pipeline, f"text_encoder{ending}", None)
        if encoder is not None and "CLIP" in type(encoder).__name__:
            encoders.append(_TextEncoder(encoder, f"tokenizer{ending}"))
    return encoders


def _load_embedding(embedding: Adapter) -> tuple[str, list[torch.Tensor]]:
    """Return the token and its embeddings for each text encoder, (count, dimensions)."""
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
    names = _TWO_ENCODERS if set(_TWO_ENCODERS) == tensors.keys() else (*tensors,)
    vectors = [torch.atleast_2d(tensors[name]) for name in names]
    if (len(vectors) > 1 and names != _TWO_ENCODERS) or any(vector.ndim != 2 for vector in vectors):
        raise BadInput(
            f"The file '{embedding.name}' is no embedding: it holds other weights than those of a "
            "word. A LoRA belongs into its own field; a whole model is chosen as a model."
        )
    named = names != _TWO_ENCODERS and names[0] not in _NAMELESS
    return embedding.token or (names[0] if named else file.stem), vectors
