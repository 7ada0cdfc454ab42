"""Muon: momentum with orthogonalized updates, for parameters that are matrices.

Each step moves a weight matrix along the nearest (semi-)orthogonal matrix to its momentum, computed
by five Newton-Schulz iterations (Jordan et al. 2024), scaled as in arXiv 2502.16982 so that AdamW's
learning rate fits.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from backends.miniatures.training.loop.precision import fastest_dtype

MOMENTUM = 0.95
"""Decay of the gradient's moving average, which is applied with Nesterov's lookahead."""
NEWTON_SCHULZ_STEPS = 5
"""Iterations; five bring all singular values near one."""


class Muon(torch.optim.Optimizer):
    """Stochastic gradient descent with orthogonalized updates; a kernel (o, i, h, w) counts as
    (o, ihw).
    """

    def __init__(
        self, parameters: Iterable[torch.Tensor], *, lr: float, weight_decay: float
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update all parameters; `closure` is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        """Update one parameter: decoupled weight decay, then the orthogonalized momentum."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum: torch.Tensor = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(momentum, MOMENTUM).flatten(1)
        update = orthogonalize(ahead) * (0.2 * max(ahead.shape) ** 0.5)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.view_as(parameter), alpha=-group["lr"])


def orthogonalize(matrix: torch.Tensor) -> torch.Tensor:
    """Return roughly the nearest semi-orthogonal matrix: all singular values near one.

    The coefficients are those of Jordan's quintic iteration.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(fastest_dtype())
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.T
        mixed = torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315)
        x = torch.addmm(x, mixed, x, beta=3.4445)
    return (x.T if tall else x).to(matrix.dtype)
