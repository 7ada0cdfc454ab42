"""Muon: momentum whose update is made orthogonal, for weights that are matrices.

Each step moves a weight matrix along the nearest (semi-)orthogonal matrix to its momentum, found
by five Newton-Schulz rounds (Jordan et al. 2024), scaled as in arXiv 2502.16982 so that AdamW's
learning rate fits.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from backends.miniatures.training.loop.precision import fast_type

MOMENTUM = 0.95
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Stochastic gradient descent with orthogonal updates; kernels count as matrices."""

    def __init__(
        self, parameters: Iterable[torch.Tensor], *, lr: float, weight_decay: float
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update; `closure` is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum: torch.Tensor = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(momentum, MOMENTUM).flatten(1)
        update = orthogonal(ahead) * (0.2 * max(ahead.shape) ** 0.5)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.view_as(parameter), alpha=-group["lr"])


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Roughly the nearest semi-orthogonal matrix: singular values all come near one."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(fast_type())
    x = x / (x.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = x @ x.T
        mixed = torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315)
        x = torch.addmm(x, mixed, x, beta=3.4445)
    return (x.T if tall else x).to(matrix.dtype)
