"""Depthwise convolutions for a CPU: torch's numbers within rounding, in a third of the time.

Two things are slow there: dilated kernels, and the gradient of a large kernel's weights, which takes some ten times as
long as all else about such a convolution. On other devices torch's own is used.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_SMALL = 3
"""Up to this side of the kernel torch's own gradient is as fast."""


class Depthwise(nn.Conv2d):
    """Every channel convolved with a kernel of its own; as many pixels come out as go in.

    Args:
        channels: In and out.
        kernel: Side in pixels; odd.
        dilation: Distance of the pixels that a kernel looks at.
    """

    def __init__(self, channels: int, kernel: int, *, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if x.device.type != "cpu" or self.bias is None:
            return super().forward(x)
        dilation = self.dilation[0]
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)  # x is as autocast wants it
        if self.kernel_size[0] <= _SMALL:
            return _convolved(x, weight, bias, dilation)
        made = _convolved(x, weight.detach(), bias.detach(), dilation)
        with_gradient: Tensor = _Weighed.apply(  # type: ignore[no-untyped-call]
            made, x.detach(), weight, bias, dilation
        )
        return with_gradient


def _convolved(x: Tensor, weight: Tensor, bias: Tensor, d: int) -> Tensor:
    """With dilation d, as one without it on each of d x d interleaved images: twice as fast, forward and backward."""
    batch, channels, height, width = x.shape
    padding = weight.shape[-1] // 2
    if d == 1:
        return F.conv2d(x, weight, bias, padding=padding, groups=channels)
    squares = F.pad(x, (0, -width % d, 0, -height % d)).permute(0, 2, 3, 1)  # zeros, as beyond the border
    rows, columns = squares.shape[1] // d, squares.shape[2] // d
    squares = squares.reshape(batch, rows, d, columns, d, channels).permute(0, 2, 4, 1, 3, 5)
    phases = squares.reshape(batch * d * d, rows, columns, channels).permute(0, 3, 1, 2)
    done = F.conv2d(phases, weight, bias, padding=padding, groups=channels)
    squares = done.permute(0, 2, 3, 1).reshape(batch, d, d, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
    whole = squares.reshape(batch, rows * d, columns * d, channels)
    return whole[:, :height, :width].permute(0, 3, 1, 2)


class _Weighed(torch.autograd.Function):
    """A convolution that is done already, with the gradients of its weights and biases; that of x it has by itself."""

    @staticmethod
    def forward(ctx: Any, made: Tensor, x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.side, ctx.dilation = weight.shape[-1], dilation
        return made.view_as(made)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, Tensor, None]:
        (x,) = ctx.saved_tensors
        weights = _weight_gradient(x, grad, ctx.side, ctx.dilation)
        return grad, None, weights.to(x.dtype), grad.sum(dim=(0, 2, 3)), None


def _weight_gradient(x: Tensor, grad: Tensor, side: int, dilation: int) -> Tensor:
    """(C, 1, side, side) of x and the gradient of what came out, both (B, C, H, W).

    Row by row of the kernel: matrix products of all columns that went in with all columns that came out, of which a
    weight's gradient is one diagonal.
    """
    with torch.autocast(x.device.type, enabled=False):
        dtype = torch.promote_types(x.dtype, torch.float32)
        channels, height, width = x.shape[1:]
        seen, asked = (part.permute(1, 2, 0, 3).to(dtype).contiguous() for part in (x, grad))  # (C, H, B, W)
        shifts = [dilation * (place - side // 2) for place in range(side)]
        products = seen.new_zeros(side, channels, width, width)
        for into, shift in zip(products, shifts, strict=True):
            rows = height - abs(shift)
            if rows > 0:
                before = seen.narrow(1, max(0, shift), rows).flatten(1, 2)
                after = asked.narrow(1, max(0, -shift), rows).flatten(1, 2)
                torch.bmm(before.transpose(1, 2), after, out=into)
        sums = [
            products.diagonal(-shift, dim1=2, dim2=3).sum(-1)
            if abs(shift) < width
            else products.new_zeros(side, channels)
            for shift in shifts
        ]
        return torch.stack(sums, dim=-1).transpose(0, 1)[:, None]
