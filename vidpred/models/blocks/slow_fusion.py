"""3x3x3 convolutions that a CPU computes fast, and a stack of them that draws time together step by step."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv3x3x3(nn.Module):
    """A 3x3x3 convolution with zeros beyond the ends, over a list of (B, channels, H, W), one for each moment.

    Done as one 3x3 convolution over the channels of three neighbours: the same sums and as many parameters as
    `nn.Conv3d`, but it may lie channels-last, which a CPU computes several times faster. With `norm`, batch norm over
    all moments together follows.
    """

    def __init__(self, inputs: int, outputs: int, *, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3 * inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()

    def forward(self, moments: list[Tensor]) -> list[Tensor]:
        """As many moments (B, outputs, H, W) as there were."""
        beyond = torch.zeros_like(moments[0])
        padded = [beyond, *moments, beyond]
        neighbours = [torch.cat(padded[i : i + 3], dim=1) for i in range(len(moments))]
        y: Tensor = self.norm(self.conv(torch.cat(neighbours).contiguous(memory_format=torch.channels_last)))
        return list(y.chunk(len(moments)))


class SlowFusion(nn.Module):
    """Frames of any number, at least 1, to one map of features.

    Args:
        channels: Of a frame.
        filters: Channels of every layer.
        depth: 3x3x3 convolutions, each with a SiLU.
        pool: How two neighbouring moments become one: their mean or their maximum; `none` leaves them apart. The mean
            of those still there is taken at the end.
        pool_every: Convolutions between two poolings.
        norm: Whether batch norm follows each convolution.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        depth: int,
        pool: Literal["mean", "max", "none"],
        pool_every: int,
        *,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            Conv3x3x3(filters if layer else channels, filters, norm=norm) for layer in range(depth)
        )
        self.pool = pool
        self.pool_every = pool_every

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, C, H, W) with any T to (B, filters, H, W)."""
        moments = list(frames.unbind(1))
        for layer, conv in enumerate(self.convs, start=1):
            moments = self.after(layer, [F.silu(moment) for moment in conv(moments)])
            if self.pool != "none" and layer % self.pool_every == 0:
                moments = self._halve(moments)
        return torch.stack(moments).mean(dim=0) if len(moments) > 1 else moments[0]

    def after(self, layer: int, moments: list[Tensor]) -> list[Tensor]:
        """What is done after a convolution, counted from 1, and before its pooling: nothing, unless a model does."""
        return moments

    def _halve(self, moments: list[Tensor]) -> list[Tensor]:
        # pairs are counted from the newest moment, which counts most; an odd one out, the oldest, stays alone
        odd = moments[:1] if len(moments) % 2 else []
        pairs = moments[len(odd) :]
        both = zip(pairs[::2], pairs[1::2], strict=True)
        return odd + [torch.maximum(a, b) if self.pool == "max" else (a + b) / 2 for a, b in both]
