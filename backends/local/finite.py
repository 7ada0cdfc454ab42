"""Find pictures that were never computed: their numbers are NaN or infinite.

An overflow in half precision, damaged weights or an unsuited scheduler turn latents into NaN, and
the libraries cast NaN to black pixels without an error. So latents are checked after each step, and
what a decoder returns before it becomes a picture. A run ends as soon as no picture of its batch is
left; otherwise the others are kept.
"""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import Any

import torch

from backends.errors import ServiceFault
from backends.local.job import LocalJob

_FEW_STEPS = 8


class Part(StrEnum):
    """Where the numbers were lost, as named in error messages."""

    DENOISER = "the latents that it computes from noise"
    DECODER = "the pixels that its decoder (VAE) computes"
    TOKENS = "the probabilities of its tokens"


class NonFinite(ArithmeticError):
    """No picture of a batch is left; `part` says where the numbers were lost."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.part = part


class FiniteCheck:
    """Which pictures of a batch of `count` have finite numbers so far."""

    def __init__(self, count: int) -> None:
        self.finite = [True] * count

    def add(self, numbers: Any, part: Part) -> None:
        """Check a tensor (pictures, ...); integers, such as tokens, are always finite.

        A tensor with another first dimension, such as a tile, counts for the whole batch.

        Raises:
            NonFinite: no picture is left.
        """
        if not isinstance(numbers, torch.Tensor) or not numbers.is_floating_point():
            return
        if bool(numbers.isfinite().all()):  # the usual case waits for the device only once
            return
        each = numbers.isfinite().flatten(1).all(1).tolist()
        if len(each) != len(self.finite):
            each = [False] * len(self.finite)
        self.finite = [before and now for before, now in zip(self.finite, each, strict=True)]
        if not any(self.finite):
            raise NonFinite(part)

    @contextmanager
    def decoding(self, pipeline: Any) -> Generator[None]:
        """Check what the decoders of `pipeline` return during the context.

        Raises:
            NonFinite: no picture is left.
        """

        def checked(_: torch.nn.Module, __: Any, decoded: Any) -> None:
            self.add(decoded[0] if isinstance(decoded, tuple) else decoded, Part.DECODER)

        with ExitStack() as stack:
            for part in pipeline.components.values():
                decoder = getattr(part, "decoder", None)
                if hasattr(part, "decode") and isinstance(decoder, torch.nn.Module):
                    stack.callback(decoder.register_forward_hook(checked).remove)
            yield


def lost_part(error: BaseException) -> Part | None:
    """Return where numbers were lost if `error` says so, None for any other error.

    Token models sample from their probabilities, and torch refuses those that are no numbers.
    """
    if isinstance(error, NonFinite):
        return error.part
    sampled = isinstance(error, RuntimeError) and "probability tensor contains" in str(error)
    return Part.TOKENS if sampled else None


def no_picture(job: LocalJob, part: Part, dtype: str) -> ServiceFault:
    """Return the error for a run without a picture; `dtype` is the number format of its weights."""
    half = dtype in ("float16", "bfloat16")
    ways: list[str] = []
    if part is Part.DECODER and half:
        ways = ["the number format float32", "a version of the model whose VAE fits half precision"]
    elif part is not Part.DECODER:
        ways = ["no LoRA, or a lower weight"] * bool(job.loras)
        ways += ["another scheduler, or none for the model's own"] * bool(job.scheduler)
        ways += ["no quantization"] * bool(job.spec.quantization)
        ways += ["the number format float32"] * half
        few = 0 < (job.request.num_inference_steps or 0) < _FEW_STEPS
        ways += ["more steps"] * few
    advice = f"Try {'; or '.join(ways)}. If that does not help, its" if ways else "Its"
    return ServiceFault(
        f"{job.spec.label} computed no picture: {part} are not numbers (NaN or infinite), which "
        f"would show as a black picture. {advice} weights are damaged: download them again.",
        charged=False,
    )
