"""Convolutional LSTM (Shi et al. 2015, arXiv 1506.04214), without peepholes.

Written for speed on a CPU; what it computes is the textbook's, within rounding. The input is convolved for all moments
at once, the first state, which is zero, not at all, and what follows the convolutions has a backward pass of its own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
        """Any length, at least 1. Gates and states are float32 under autocast: the cell's state sums over time."""
        weight, bias = self._weights(sequence[0].device.type)
        of_input, of_state = weight.split([weight.shape[1] - self.filters, self.filters], dim=1)
        together = torch.cat(sequence).contiguous(memory_format=torch.channels_last)
        driven = F.conv2d(together.to(weight.dtype), of_input, bias, padding=self.gates.padding)
        hidden: Tensor | None = None
        cell: Tensor | None = None
        states = []
        for gates in driven.chunk(len(sequence)):
            added = None
            if hidden is not None:
                added = F.conv2d(hidden.to(weight.dtype), of_state, padding=self.gates.padding)
            hidden, cell = _Gating.apply(gates, added, cell, self.gates.weight.dtype)  # type: ignore[no-untyped-call]
            states.append(hidden)
        return states

    def _weights(self, device: str) -> tuple[Tensor, Tensor | None]:
        """As autocast would have them, once for all moments, and the candidate's doubled, as `_Gating` wants it."""
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.gates.weight.dtype
        factor = self.gates.weight.new_ones(4, self.filters)
        factor[2] = 2  # exact, also in bfloat16
        factor = factor.flatten()
        bias = self.gates.bias
        return (self.gates.weight * factor[:, None, None, None]).to(dtype), (
            None if bias is None else (bias * factor).to(dtype)
        )


class _Gating(torch.autograd.Function):
    """What an LSTM does after its convolutions, with a backward pass by hand: half of the time of autograd's.

    tanh(x) is 2 · sigmoid(2x) - 1 throughout: torch's sigmoid takes a fifth of its tanh's time on a CPU, and one call
    does for all four gates.
    """

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, added: Tensor | None, before: Tensor | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Hidden and cell's state (B, F, H, W).

        Args:
            ctx: Keeps what the way back needs.
            gates: (B, 4·F, H, W): input, forget, twice the candidate, output.
            added: As many, which are added to them; None: zeros.
            before: The cell's state (B, F, H, W); None: zeros.
            dtype: In which it is computed.
        """
        summed = gates if added is None else gates + added
        opened = torch.sigmoid(summed) if summed.dtype == dtype else summed.to(dtype).sigmoid_()
        into, forget, half, out = opened.chunk(4, dim=1)
        candidate = (half * 2).sub_(1)
        cell = into * candidate
        if before is not None:
            cell.addcmul_(forget, before)
        shown = (cell * 2).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(opened, candidate, before, shown)
        ctx.added, ctx.dtype = added is not None, gates.dtype
        return out * shown, cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        """Gradients of gates, of what was added and of the state before, from those of hidden and the cell's state."""
        opened, candidate, before, shown = ctx.saved_tensors
        into, forget, _, out = opened.chunk(4, dim=1)
        grads = torch.empty_like(opened)
        of_into, of_forget, of_half, of_out = grads.chunk(4, dim=1)
        torch.mul(hidden, shown, out=of_out)
        cell = torch.ops.aten.tanh_backward(hidden * out, shown).add_(cell)
        torch.mul(cell, candidate, out=of_into)
        torch.mul(cell, into, out=of_half).mul_(2)
        if before is None:
            of_forget.zero_()
        else:
            torch.mul(cell, before, out=of_forget)
        of_gates = torch.ops.aten.sigmoid_backward(grads, opened, grad_input=grads).to(ctx.dtype)
        return of_gates, of_gates if ctx.added else None, None if before is None else cell * forget, None
