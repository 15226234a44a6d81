"""Recurrent convolutional layers, one above the other: each sees the one below and itself one moment before."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from vidpred.models.blocks.recurrent import ConvLSTM
from vidpred.models.blocks.simple_recurrent import ConvGRU, ConvRNN

CELLS: dict[str, Callable[[int, int, int], nn.Module]] = {"rnn": ConvRNN, "gru": ConvGRU, "lstm": ConvLSTM}
"""Each takes the channels of its input, the filters of its state and the kernel."""


def recurrent_layers(cell: str, channels: int, filters: int, layers: int, kernel: int) -> nn.ModuleList:
    """So many layers of a cell; `channels` are those of the frames."""
    return nn.ModuleList(CELLS[cell](filters if layer else channels, filters, kernel) for layer in range(layers))


def run_layers(cells: nn.ModuleList, frames: Tensor) -> list[Tensor]:
    """Frames (B, T, C, H, W) to the top layer's state (B, filters, H, W) at every moment."""
    states = list(frames.unbind(1))
    for cell in cells:
        states = cell(states)
    return states
