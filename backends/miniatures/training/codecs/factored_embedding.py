"""A table of all tokens made of few numbers: what is learned in one colour is known in all.

There are thousands of tokens, most of them rare. A token's row is `hue + piece + hue' * piece'`:
the sum says what all reds and all star tips share; the product lets a model be torn between a red
tip and a blue side without believing in a blue tip. Strokes, of which outlines are made, have hues
of their own. Cells that are all of one colour, things' inner parts and backgrounds, have rows of
their own, as have textured cells and further tokens such as the mask.
"""

import torch
from torch import nn

from backends.miniatures.training.codecs import codebook, patches
from backends.miniatures.world import scene


def first_table(further: int, width: int) -> torch.Tensor:
    """A table to start with, (tokens and `further` rows, width): pieces that look alike are near.

    Only the pieces' looks are given, by their principal components; the rest is random.
    """
    factors = Factors()
    rows = torch.randn(sum(factors.parts) + further, width) / 2
    for index, each in zip(factors.LOOKS, (patches.filled(), patches.strokes()), strict=True):
        looks = torch.from_numpy(each).flatten(1)
        left, strength, _ = torch.linalg.svd(looks - looks.mean(0), full_matrices=False)
        shown = (left * strength)[:, :width]
        own = rows.split([*factors.parts, further])[index]
        own /= 5
        own[:, : shown.shape[1]] += shown / shown.std() / 2
    return factors(rows)


class Factors(nn.Module):
    """A parametrisation: from the few rows that are learned to the table's."""

    LOOKS = 1, 7
    """Which of `parts` are filled pieces and strokes themselves."""

    def __init__(self) -> None:
        super().__init__()
        colours, filled, strokes = len(scene.COLOURS), len(patches.filled()), len(patches.strokes())
        grid = [colours, filled, colours, filled]
        self._ground = codebook.grounded() - codebook.pieced()
        self.parts = [*grid, colours, self._ground, colours, strokes, colours, strokes]
        """How many rows are hues, pieces, tints, forms, flat cells, textured cells, and hues,
        strokes, tints and forms again; then come further ones."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """From (sum of `parts` and further, ...) to (tokens.count() and further, ...)."""
        parts = rows.split([*self.parts, len(rows) - sum(self.parts)])
        filled = _grid(*parts[:4])
        filled = torch.cat([parts[4][:, None], filled[:, 1:]], 1)
        return torch.cat(
            [filled.flatten(0, 1), parts[5], _grid(*parts[6:10]).flatten(0, 1), parts[10]]
        )

    @torch.no_grad()
    def right_inverse(self, table: torch.Tensor) -> torch.Tensor:
        """The rows that make a table, or come near it: exact for one that was made of rows."""
        colours, flat = len(scene.COLOURS), table.flatten(1).float()
        sizes = codebook.pieced(), self._ground, codebook.count() - codebook.grounded()
        filled, ground, strokes, further = flat.split([*sizes, len(flat) - codebook.count()])
        grid = filled.unflatten(0, (colours, -1))
        hue, piece, tint, form = _factors(grid[:, 1:])
        unused = torch.zeros_like(piece[:1])  # the full cell has its own rows
        rows = [hue, unused, piece, tint, unused, form, grid[:, 0], ground]
        rows += [*_factors(strokes.unflatten(0, (colours, -1))), further]
        return torch.cat(rows).reshape(-1, *table.shape[1:]).to(table.dtype)


def _grid(
    hue: torch.Tensor, piece: torch.Tensor, tint: torch.Tensor, form: torch.Tensor
) -> torch.Tensor:
    """All colours' rows of all pieces: (colours, pieces, ...)."""
    return hue[:, None] + piece[None] + tint[:, None] * form[None]


def _factors(grid: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Hue, piece, tint and form of rows (colours, pieces, width).

    What the sums leave is, for each channel, a matrix of colours by pieces of rank one.
    """
    hue, piece = grid.mean(1), grid.mean(0) - grid.mean((0, 1))
    rest = (grid - hue[:, None] - piece[None]).permute(2, 0, 1)
    left, strength, right = torch.linalg.svd(rest, full_matrices=False)
    root = strength[:, :1].sqrt()
    return hue, piece, (left[:, :, 0] * root).T, (right[:, 0] * root).T
