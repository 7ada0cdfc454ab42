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

from collections.abc import Mapping, Sequence

import torch


def factors(
    roles: Mapping[str, torch.Tensor], scale: float, shape: Sequence[int] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `down` (rank, in, ...) and `up` (out, rank, ...) of a layer's tensors by role.

    Their product is the change of the weight. `shape` is that of the weight, for a layer whose bias
    alone changes. The magnitudes of a DoRA are left to `dora_factors`.

    Raises:
        KeyError: one of the tensors is missing.
    """
    roles = {role: tensor.float() for role, tensor in roles.items()}
    if "down" in roles:
        down, up = roles["down"], roles["up"] * scale
        if "mid" in roles:  # the middle convolution of three, applied to the first one
            down = torch.einsum("rskl,si->rikl", roles["mid"], down.flatten(1))
        return down, up
    if "hada_w1_a" in roles:
        return _loha(roles, scale)
    if "lokr_w1" in roles or "lokr_w1_a" in roles:
        return _lokr(roles, scale)
    if "diff" in roles:
        return _full(roles["diff"])
    return torch.zeros(1, *shape[1:]), torch.zeros(shape[0], 1)


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
        return _full(torch.kron((a1 @ b1)[..., None, None], second.contiguous()) * scale)
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


def dora_factors(
    weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, roles: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factors of what a DoRA adds to `weight`.

    The magnitudes of peft are those of the weight's rows. Those of LyCORIS have the shape of the
    weight with ones for the other sides: they are of its rows, or without `wd_on_out` of its
    columns.
    """
    weight, device = weight.detach().float(), weight.device
    change = (up.flatten(1) @ down.flatten(1)).to(device).reshape(weight.shape)
    whole = weight + change
    magnitude = roles.get("magnitude", roles.get("dora_scale", whole)).float().to(device)
    axis = 0 if "magnitude" in roles or len(magnitude) == len(weight) else 1
    others = [each for each in range(weight.ndim) if each != axis]
    shape = [-1 if each == axis else 1 for each in range(weight.ndim)]
    norms = torch.linalg.vector_norm(whole, dim=others, keepdim=True)
    return _full((magnitude.reshape(shape) * whole / norms - weight).cpu())
