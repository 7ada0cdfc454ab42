"""A table of all tokens made of few numbers: what is learned in one colour is known in all.

There are thousands of tokens, most of them rare. A token's row is `hue + piece + hue' * piece'`:
the sum says what all reds and all star tips share; the product lets a model be torn between a red
tip and a blue side without believing in a blue tip. Cells that are all of one colour, things' inner
parts and backgrounds, have rows of their own, as have textured cells and further tokens such as
the mask.
"""

import torch
from torch import nn

from backends.miniatures import tokens, world


def first_table(further: int, width: int) -> torch.Tensor:
    """A table to start with, (tokens and `further` rows, width): pieces that look alike are near.

    Only the pieces' looks are given, by their principal components; the rest is random.
    """
    looks = torch.from_numpy(tokens.pieces()).flatten(1)
    left, strength, _ = torch.linalg.svd(looks - looks.mean(0), full_matrices=False)
    shown = (left * strength)[:, :width]
    colours, pieces = len(world.COLOURS), len(looks)
    further += tokens.count() - tokens.pieced()
    rows = torch.randn(3 * colours + 2 * pieces + further, width) / 2
    rows[colours : colours + pieces] /= 5
    rows[colours : colours + pieces] += shown / shown.std() / 2
    return Factors()(rows)


class Factors(nn.Module):
    """A parametrisation: from the few rows that are learned to the table's."""

    def __init__(self) -> None:
        super().__init__()
        self._colours, self._pieces = len(world.COLOURS), len(tokens.pieces())

    def _parts(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        colours, pieces = self._colours, self._pieces
        known = 3 * colours + 2 * pieces
        return rows.split([colours, pieces, colours, pieces, colours, len(rows) - known])

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """From (3 colours + 2 pieces + further, ...) to (colours * pieces + further, ...)."""
        hue, piece, tint, form, flat, further = self._parts(rows)
        table = hue[:, None] + piece[None] + tint[:, None] * form[None]
        table = torch.cat([flat[:, None], table[:, 1:]], 1)
        return torch.cat([table.flatten(0, 1), further])

    @torch.no_grad()
    def right_inverse(self, table: torch.Tensor) -> torch.Tensor:
        """The rows that make a table, or come near it: exact for one that was made of rows.

        What the sums leave is, for each channel, a matrix of colours by pieces of rank one.
        """
        count = self._colours * self._pieces
        grid = table[:count].reshape(self._colours, self._pieces, -1)
        parts, flat = grid[:, 1:].float(), grid[:, 0].float()
        hue, piece = parts.mean(1), parts.mean(0) - parts.mean((0, 1))
        rest = (parts - hue[:, None] - piece[None]).permute(2, 0, 1)
        left, strength, right = torch.linalg.svd(rest, full_matrices=False)
        root = strength[:, :1].sqrt()
        tint, form = (left[:, :, 0] * root).T, (right[:, 0] * root).T
        unused = torch.zeros_like(piece[:1])  # the full cell has its own rows
        rows = [hue, unused, piece, tint, unused, form, flat, table[count:].flatten(1).float()]
        return torch.cat(rows).reshape(-1, *table.shape[1:]).to(table.dtype)
