"""A small encoder-decoder: maps at full, half, quarter … resolution of what goes in, and back up to full."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def widths(width: int, scales: int) -> list[int]:
    """Channels of every scale, finest first: `width`, twice, three times as many …"""
    return [width * (scale + 1) for scale in range(scales)]


def conv(inputs: int, outputs: int, *, norm: bool = False) -> nn.Sequential:
    """A 3x3 convolution, batch norm where it is asked for, and SiLU, on maps of any size."""
    norms = [nn.BatchNorm2d(outputs)] if norm else []
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), *norms, nn.SiLU())


def halve(maps: Tensor, by: Literal["mean", "max"] = "mean") -> Tensor:
    """(..., C, H, W) to (..., C, H/2, W/2): means of 2x2, or the largest of them; H and W are even."""
    pool = F.max_pool2d if by == "max" else F.avg_pool2d
    halved: Tensor = pool(maps.flatten(0, -4), 2).unflatten(0, maps.shape[:-3])
    return halved


class Down(nn.Module):
    """(B, channels, H, W) to one map a scale, finest first; H and W are multiples of 2^(scales - 1).

    Args:
        channels: Of the input.
        widths: Channels of each scale, finest first.
        depth: Convolutions at each scale.
        norm: Whether batch norm follows each.
        pool: What is handed to the next scale of 2x2 places.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        depth: int,
        *,
        norm: bool = False,
        pool: Literal["mean", "max"] = "mean",
    ) -> None:
        super().__init__()
        self.pool: Literal["mean", "max"] = pool
        self.stages = nn.ModuleList(
            nn.Sequential(conv(before, after, norm=norm), *(conv(after, after, norm=norm) for _ in range(depth - 1)))
            for before, after in itertools.pairwise([channels, *widths])
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps (B, width, H / 2^scale, W / 2^scale)."""
        x = x.contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(halve(x, self.pool) if maps else x)
            maps.append(x)
        return maps


class Up(nn.Module):
    """Maps of all scales, finest first, to one (B, widths[0], H, W): from the coarsest up, each joined to the next.

    Args:
        seen: Channels of the map of each scale.
        widths: Channels that come out of each scale.
    """

    def __init__(self, seen: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        from_below = [*widths[1:], 0]
        self.stages = nn.ModuleList(
            conv(here + below, after) for here, below, after in zip(seen, from_below, widths, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """What the finest scale makes of all."""
        *finer, coarsest = zip(maps, self.stages, strict=True)
        x: Tensor = coarsest[1](coarsest[0].contiguous(memory_format=torch.channels_last))
        for seen, stage in reversed(finer):
            below = F.interpolate(x, scale_factor=2, mode="nearest")
            together = torch.cat((seen.to(below.dtype), below), dim=1)
            x = stage(together.contiguous(memory_format=torch.channels_last))
        return x
