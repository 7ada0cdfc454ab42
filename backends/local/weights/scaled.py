"""Read denoisers whose weights are 8-bit numbers with a scale beside each.

So ComfyUI publishes large models: `x.weight` in fp8, and `x.scale_weight` or `x.weight_scale`, one
number for the weight or one for each of its rows. The weight is their product. Scales of inputs are
for computing in fp8, which is not done here.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file

from backends.local.weights.contents import for_inputs


def read_scaled(
    file: Path, scale_of: dict[str, str], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Return the tensors of a file with the scales applied, and without them."""
    tensors = load_file(str(file))
    for weight, scale in scale_of.items():
        factor = tensors.pop(scale).float()
        sides = [1] * (tensors[weight].ndim - 1)
        tensors[weight] = (tensors[weight].float() * factor.reshape(-1, *sides)).to(dtype)
    return {name: tensor for name, tensor in tensors.items() if not for_inputs(name)}
