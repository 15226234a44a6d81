"""Convolutional recurrent layers lighter than the ConvLSTM: the plain one and the gated one (GRU).

Both look at a whole sequence: a list of frames (B, C, H, W) in, as many states (B, filters, H, W) out. States start at
zero. What is convolved of the input is convolved for all moments at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvRNN(nn.Module):
    """state = tanh(W * input + U * state before), with convolutions for the products.

    Args:
        channels: Of the input.
        filters: Channels of the state.
        kernel: Side of the kernels in pixels; odd.
    """

    def __init__(self, channels: int, filters: int, kernel: int) -> None:
        super().__init__()
        self.input = nn.Conv2d(channels, filters, kernel, padding=kernel // 2)
        self.recurrent = nn.Conv2d(filters, filters, kernel, padding=kernel // 2, bias=False)

    def forward(self, sequence: list[Tensor]) -> list[Tensor]:
        """Any length, at least 1."""
        states: list[Tensor] = []
        for driven in _at_once(self.input, sequence):
            states.append(torch.tanh(driven + self.recurrent(states[-1]) if states else driven))
        return states


class ConvGRU(nn.Module):
    """A gated recurrent unit (Cho et al. 2014, arXiv 1406.1078) with convolutions (Ballas et al. 2016, 1511.06432).

    The reset gate acts on the convolved state, as in cuDNN, so that one convolution a moment is enough. With update
    gate z, the state is z·before + (1 - z)·new; z's bias starts at 1, so that a state is kept until it learns not to.

    Args:
        channels: Of the input.
        filters: Channels of the state.
        kernel: Side of the kernels in pixels; odd.
    """

    def __init__(self, channels: int, filters: int, kernel: int) -> None:
        super().__init__()
        self.input = nn.Conv2d(channels, 3 * filters, kernel, padding=kernel // 2)
        self.recurrent = nn.Conv2d(filters, 3 * filters, kernel, padding=kernel // 2, bias=False)
        if self.input.bias is not None:
            with torch.no_grad():
                self.input.bias.zero_()
                self.input.bias[filters : 2 * filters] = 1

    def forward(self, sequence: list[Tensor]) -> list[Tensor]:
        """Any length, at least 1. The state stays float32 under autocast: it sums over time."""
        states: list[Tensor] = []
        for driven in _at_once(self.input, sequence):
            reset_in, keep_in, new_in = driven.chunk(3, dim=1)
            if states:
                reset_on, keep_on, new_on = self.recurrent(states[-1]).chunk(3, dim=1)
                keep = torch.sigmoid(keep_in + keep_on).float()
                new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_on) * new_on)
                states.append(torch.lerp(new.float(), states[-1], keep))
            else:  # nothing to keep and nothing to reset
                states.append((torch.sigmoid(-keep_in) * torch.tanh(new_in)).float())
        return states


def _at_once(convolve: nn.Conv2d, sequence: list[Tensor]) -> list[Tensor]:
    together = torch.cat(sequence).contiguous(memory_format=torch.channels_last)
    return list(convolve(together).chunk(len(sequence)))
