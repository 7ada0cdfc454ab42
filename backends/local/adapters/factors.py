"""Write the change that an adapter makes to a layer's weight as a product of two matrices.

A plain LoRA adds `up @ down` to the weight. The other kinds are changes of a weight too, so each is
written as such a product, without any loss:

    LoHa    (a1 b1) * (a2 b2), elementwise: the product of row-wise and column-wise Kronecker
            products of the factors, of the rank r1 r2 (Hyeon-Woo et al., FedPara,
            https://arxiv.org/abs/2108.06098, proposition 1)
    LoKr    kron(a1 b1, a2 b2) = kron(a1, a2) kron(b1, b2) (Yeh et al., LyCORIS,
            https://arxiv.org/abs/2309.14859, section 3.3)
    full    the change itself, times a unit matrix
    DoRA    the weight with the LoRA, normalized and scaled, less the weight
            (Liu et al., https://arxiv.org/abs/2402.09353, equation 5)
"""

from collections.abc import Mapping

import torch


def factors(
    roles: Mapping[str, torch.Tensor], scale: float, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `down` (rank, in, ...) and `up` (out, rank, ...), whose product is the change."""
    roles = {role: tensor.float() for role, tensor in roles.items()}
    if "down" in roles:
        down, up = roles["down"], roles["up"] * scale
        if "mid" in roles:  # the middle convolution of three, applied to the first one
            down = torch.einsum("rskl,si->rikl", roles["mid"], down.flatten(1))
    elif "hada_w1_a" in roles:
        down, up = _loha(roles, scale)
    elif "lokr_w1" in roles or "lokr_w1_a" in roles:
        down, up = _lokr(roles, scale)
    elif "diff" in roles:
        down, up = _full(roles["diff"])
    else:  # a bias alone
        assert weight is not None
        down, up = torch.zeros(1, *weight.shape[1:]), torch.zeros(len(weight), 1)
    if weight is not None and weight.is_floating_point():  # quantized ones have another shape
        down = down.reshape(len(down), *weight.shape[1:])
        if "magnitude" in roles:
            down, up = _full(_dora(weight.detach().float(), down, up, roles["magnitude"]))
    return down, up.reshape(len(up), len(down), *[1] * (down.ndim - 2))


def _loha(roles: Mapping[str, torch.Tensor], scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    (a1, b1), (a2, b2) = ((roles[f"hada_w{n}_a"], roles[f"hada_w{n}_b"]) for n in (1, 2))
    if "hada_t1" in roles:
        first, second = _tucker(roles["hada_t1"], a1, b1), _tucker(roles["hada_t2"], a2, b2)
        return _full(first * second * scale)
    rank = a1.shape[1] * a2.shape[1]
    if rank >= min(len(a1), b1.shape[1]):
        return _full((a1 @ b1) * (a2 @ b2) * scale)
    up = torch.einsum("oi,oj->oij", a1, a2).flatten(1) * scale
    return torch.einsum("if,jf->ijf", b1, b2).flatten(0, 1), up


def _lokr(roles: Mapping[str, torch.Tensor], scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    a1, b1 = _lokr_side(roles, 1)
    if "lokr_t2" in roles:
        second = _tucker(roles["lokr_t2"], roles["lokr_w2_a"], roles["lokr_w2_b"])
        return _full(torch.kron((a1 @ b1)[..., None, None], second) * scale)
    a2, b2 = _lokr_side(roles, 2)
    down, up = torch.kron(b1, b2), torch.kron(a1, a2) * scale
    return (down, up) if len(down) < min(len(up), down.shape[1]) else _full(up @ down)


def _lokr_side(roles: Mapping[str, torch.Tensor], number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two factors of one side: a side that is whole has a unit matrix for the other."""
    if f"lokr_w{number}" in roles:
        whole = roles[f"lokr_w{number}"].flatten(1)
        return whole, torch.eye(whole.shape[1])
    return roles[f"lokr_w{number}_a"], roles[f"lokr_w{number}_b"].flatten(1)


def _tucker(core: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the convolution (out, in, height, width) of a core (r, r, height, width)."""
    return torch.einsum("ijkl,jr,ip->prkl", core, b, a)


def _full(change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a change of a weight as a product with the unit matrix of its smaller side."""
    rows, columns = len(change), change[0].numel()
    if columns <= rows:
        return torch.eye(columns).reshape(columns, *change.shape[1:]), change.reshape(rows, columns)
    return change, torch.eye(rows)


def _dora(
    weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, magnitude: torch.Tensor
) -> torch.Tensor:
    """Return what a DoRA adds to `weight`.

    The magnitudes are of the weight's rows, as in the paper's code and peft's, or of its columns,
    as LyCORIS trains without `wd_on_out`.
    """
    device = weight.device
    change = (up.flatten(1) @ down.flatten(1)).to(device).reshape(weight.shape)
    whole, magnitude = weight + change, magnitude.to(device)
    of_rows = magnitude.numel() == len(weight) and (
        magnitude.ndim != 2 or len(magnitude) == len(weight)
    )
    axis = 0 if of_rows else 1
    others = [each for each in range(weight.ndim) if each != axis]
    shape = [-1 if each == axis else 1 for each in range(weight.ndim)]
    norms = torch.linalg.vector_norm(whole, dim=others, keepdim=True)
    return (magnitude.reshape(shape) * whole / norms - weight).cpu()
