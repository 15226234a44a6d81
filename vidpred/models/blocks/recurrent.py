"""Convolutional LSTM (Shi et al. 2015, arXiv 1506.04214), without peepholes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvLSTM(nn.Module):
    """One layer over a sequence: a list of frames (B, C, H, W) in, as many hidden states (B, filters, H, W) out.

    One convolution computes the four gates from input and state. States start at zero; the forget gate's bias starts
    at 1, so that a cell remembers until it learns not to (Jozefowicz et al. 2015).

    Args:
        channels: Of the input.
        filters: Channels of the state.
        kernel: Side of the kernel in pixels; odd.
    """

    def __init__(self, channels: int, filters: int, kernel: int) -> None:
        super().__init__()
        self.filters = filters
        self.gates = nn.Conv2d(channels + filters, 4 * filters, kernel, padding=kernel // 2)
        if self.gates.bias is not None:
            with torch.no_grad():
                self.gates.bias.zero_()
                self.gates.bias[filters : 2 * filters] = 1

    def forward(self, sequence: list[Tensor]) -> list[Tensor]:
        """Any length, at least 1. The cell's state stays float32 under autocast: it sums over time."""
        first = sequence[0]
        hidden = torch.zeros_like(first[:, :1]).expand(-1, self.filters, -1, -1)
        cell = torch.zeros((), device=first.device)
        states = []
        for frame in sequence:
            seen = torch.cat((frame, hidden.to(frame.dtype)), dim=1).contiguous(memory_format=torch.channels_last)
            into, forget, candidate, out = self.gates(seen).chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + (torch.sigmoid(into) * torch.tanh(candidate)).float()
            hidden = torch.sigmoid(out) * torch.tanh(cell)
            states.append(hidden)
        return states
