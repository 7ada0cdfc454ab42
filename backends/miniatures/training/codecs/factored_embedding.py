"""An embedding table of all tokens, factored into few parameters that tokens share.

There are thousands of tokens, most of them rare. A token's row is `hue + piece + tint * form`: the
sum holds what all reds and all star tips share; the product lets a model be undecided between a red
tip and a blue side without predicting a blue tip. Strokes, the pieces of outlines, have hues of
their own. Cells of one colour (inner parts of things, backgrounds) have rows of their own, as have
textured cells and further tokens such as the mask.
"""

import torch
from torch import nn

from backends.miniatures import world
from backends.miniatures.training.codecs import codebook, patches


def initial_table(further: int, width: int) -> torch.Tensor:
    """Return an initial table (tokens and `further` rows, width) with similar rows for similar
    pieces.

    Only the pieces' principal components are given; the rest is random.
    """
    parametrization = FactoredTable()
    rows = torch.randn(sum(parametrization.part_sizes) + further, width) / 2
    for index, pieces in zip(
        parametrization.PIECE_PARTS, (patches.filled_pieces(), patches.stroke_pieces()), strict=True
    ):
        pixels = torch.from_numpy(pieces).flatten(1)
        axes, values, _ = torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
        components = (axes * values)[:, :width]
        part = rows.split([*parametrization.part_sizes, further])[index]
        part /= 5
        part[:, : components.shape[1]] += components / components.std() / 2
    return parametrization(rows)


class FactoredTable(nn.Module):
    """A parametrization (`torch.nn.utils.parametrize`) from the learned rows to the table's."""

    PIECE_PARTS = 1, 7
    """Indices in `part_sizes` of the rows of filled pieces and strokes."""

    def __init__(self) -> None:
        super().__init__()
        colours, filled, strokes = (
            len(world.COLOURS),
            len(patches.filled_pieces()),
            len(patches.stroke_pieces()),
        )
        grid = [colours, filled, colours, filled]
        self._ground = codebook.background_end() - codebook.filled_end()
        self.part_sizes = [*grid, colours, self._ground, colours, strokes, colours, strokes]
        """How many rows are hues, pieces, tints, forms, flat cells, textured cells, and hues,
        strokes, tints and forms again; then come further ones."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Expand rows (sum of `part_sizes` and further, ...) to (token_count() and further,
        ...).
        """
        parts = rows.split([*self.part_sizes, len(rows) - sum(self.part_sizes)])
        filled = _combine(*parts[:4])
        filled = torch.cat([parts[4][:, None], filled[:, 1:]], 1)
        return torch.cat(
            [filled.flatten(0, 1), parts[5], _combine(*parts[6:10]).flatten(0, 1), parts[10]]
        )

    @torch.no_grad()
    def right_inverse(self, table: torch.Tensor) -> torch.Tensor:
        """Return the rows that reproduce a table; exact for one that was made of rows, else
        approximate.
        """
        colours, flat = len(world.COLOURS), table.flatten(1).float()
        sizes = (
            codebook.filled_end(),
            self._ground,
            codebook.token_count() - codebook.background_end(),
        )
        filled, ground, strokes, further = flat.split([*sizes, len(flat) - codebook.token_count()])
        grid = filled.unflatten(0, (colours, -1))
        hue, piece, tint, form = _factorize(grid[:, 1:])
        unused = torch.zeros_like(piece[:1])  # the full cell has its own rows
        rows = [hue, unused, piece, tint, unused, form, grid[:, 0], ground]
        rows += [*_factorize(strokes.unflatten(0, (colours, -1))), further]
        return torch.cat(rows).reshape(-1, *table.shape[1:]).to(table.dtype)


def _combine(
    hue: torch.Tensor, piece: torch.Tensor, tint: torch.Tensor, form: torch.Tensor
) -> torch.Tensor:
    """Return all colours' rows of all pieces: (colours, pieces, ...)."""
    return hue[:, None] + piece[None] + tint[:, None] * form[None]


def _factorize(grid: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return hue, piece, tint and form of rows (colours, pieces, width).

    The remainder after the sums is, for each channel, approximated by a matrix of rank one.
    """
    hue, piece = grid.mean(1), grid.mean(0) - grid.mean((0, 1))
    remainder = (grid - hue[:, None] - piece[None]).permute(2, 0, 1)
    left, values, right = torch.linalg.svd(remainder, full_matrices=False)
    root = values[:, :1].sqrt()
    return hue, piece, (left[:, :, 0] * root).T, (right[:, 0] * root).T
