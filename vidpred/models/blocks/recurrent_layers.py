"""Recurrent convolutional layers, one above the other: each sees the one below and itself one moment before."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.models.blocks.recurrent import ConvLSTM
from vidpred.models.blocks.simple_recurrent import ConvGRU, ConvRNN

CELLS: dict[str, Callable[[int, int, int], nn.Module]] = {"rnn": ConvRNN, "gru": ConvGRU, "lstm": ConvLSTM}
"""Each takes the channels of its input, the filters of its state and the kernel."""


def recurrent_layers(cell: str, channels: int, filters: int, layers: int, kernel: int) -> nn.ModuleList:
    """So many layers of a cell; `channels` are those of the frames."""
    return nn.ModuleList(CELLS[cell](filters if layer else channels, filters, kernel) for layer in range(layers))


def run_layers(cells: nn.ModuleList, frames: Tensor, *, pool: bool = False) -> list[Tensor]:
    """Frames (B, T, C, H, W) to the top layer's state (B, filters, H, W) at every moment.

    Args:
        cells: Of `recurrent_layers`.
        frames: See above.
        pool: Whether each layer sees the largest of 2x2 states of the one below, and so half of the rows and columns.
    """
    states = list(frames.unbind(1))
    for layer, cell in enumerate(cells):
        if pool and layer:
            states = [F.max_pool2d(state, 2, ceil_mode=True) for state in states]
        states = cell(states)
    return states
