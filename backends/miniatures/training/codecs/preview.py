"""A linear map from latents to colours, for showing a picture while it is still being made."""

# diffusers fills its top level lazily, which type checkers take for private.
# pyright: reportPrivateImportUsage=false

import random

import torch
from diffusers import AutoencoderKL

from backends.miniatures.training.codecs.autoencoder import means, to_tensor
from backends.miniatures.world import scene


@torch.no_grad()
def fit(autoencoder: AutoencoderKL) -> dict[str, list[list[float]] | list[float]]:
    """Least squares from latents (as a pipeline's callback sees them) to RGB from 0 to 1.

    Gives {"weight": 8 rows of 3, "bias": 3 numbers}; a preview is `latents @ weight + bias` per
    latent pixel, each of which stands for 8x8 pixels.
    """
    rng = random.Random(11)
    pictures = to_tensor([scene.draw(scene.sample(rng)) for _ in range(256)])
    codes = torch.cat([means(autoencoder, part) for part in pictures.split(32)])
    inputs = codes.permute(0, 2, 3, 1).flatten(0, 2)
    colours = torch.nn.functional.avg_pool2d(pictures, 8).permute(0, 2, 3, 1).flatten(0, 2)
    ones = torch.ones(len(inputs), 1)
    solution = torch.linalg.lstsq(torch.cat([inputs, ones], 1), colours / 2 + 0.5).solution
    rounded = [[round(float(value), 5) for value in row] for row in solution]
    return {"weight": rounded[:-1], "bias": rounded[-1]}
