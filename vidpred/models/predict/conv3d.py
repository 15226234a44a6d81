"""Slow fusion: 3x3x3 convolutions over time, rows and columns, averaged over time step by step; adds to the last frame.

After Karpathy et al. 2014, https://research.google/pubs/large-scale-video-classification-with-convolutional-neural-networks/
and Tran et al. 2015 (C3D, arXiv 1412.0767). `seed` is the tutorial's network instead: one 3x3x3 convolution over rows,
columns and *colours*, with the frames as its channels (136 parameters at 5 frames in and 1 out).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import add_noise, add_residual, standardise, zero_head
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed"] = "default"
    """`default`, or the tutorial's network, of which only `noise` may vary."""
    filters: int = 16
    """Channels of the hidden layers."""
    depth: int = 3
    """3x3x3 convolutions; after each, neighbouring moments are averaged until one is left."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on the learned path while training, in units of full scale."""

    def __post_init__(self) -> None:
        between("conv3d", "filters", self.filters, 1)
        between("conv3d", "depth", self.depth, 1)
        between("conv3d", "noise", self.noise, 0)
        if self.variant != "default" and (self.filters, self.depth) != (Config.filters, Config.depth):
            raise UserError(f"conv3d: filters and depth of variant {self.variant} are its source's: leave them out")


class Conv3d(Predictor):
    """(B, T, C, H, W) in, the whole horizon out; frames of any size. Only `seed` is bound to the task's T."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.noise = config.noise
        self.net: nn.Module
        if config.variant == "seed":
            self.net = _OverColours(task.context, task.horizon)
        else:
            self.net = _OverTime(config, task.channels, task.horizon)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        seen = add_noise(context, self.noise, training=self.training)
        return Output(add_residual(context, self.net(seen), self.steps))


class _Conv3x3x3(nn.Module):
    """A 3x3x3 convolution with zeros beyond the ends, over a list of (B, channels, H, W), one for each moment.

    Done as one 3x3 convolution over the channels of three neighbours: the same sums and as many parameters as
    `nn.Conv3d`, but it may lie channels-last, which a CPU computes several times faster.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3 * inputs, outputs, 3, padding=1)

    def forward(self, moments: list[Tensor]) -> list[Tensor]:
        beyond = torch.zeros_like(moments[0])
        padded = [beyond, *moments, beyond]
        neighbours = [torch.cat(padded[i : i + 3], dim=1) for i in range(len(moments))]
        y: Tensor = self.conv(torch.cat(neighbours).contiguous(memory_format=torch.channels_last))
        return list(y.chunk(len(moments)))


class _OverTime(nn.Module):
    """(B, T, C, H, W) to a residual (B, horizon·C, H, W), zero at the start."""

    def __init__(self, config: Config, channels: int, horizon: int) -> None:
        super().__init__()
        widths = [channels] + [config.filters] * config.depth
        self.convs = nn.ModuleList(_Conv3x3x3(*pair) for pair in itertools.pairwise(widths))
        self.head = zero_head(config.filters, horizon * channels)

    def forward(self, context: Tensor) -> Tensor:
        moments = list(standardise(context).unbind(1))
        for conv in self.convs:
            moments = [F.silu(moment) for moment in conv(moments)]
            # pairs are counted from the newest moment, which counts most; an odd one out, the oldest, stays alone
            odd = moments[:1] if len(moments) % 2 else []
            pairs = moments[len(odd) :]
            moments = odd + [(a + b) / 2 for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
        residual: Tensor = self.head(torch.stack(moments).mean(dim=0) if len(moments) > 1 else moments[0])
        return residual


class _OverColours(nn.Module):
    """(B, T, C, H, W) to a residual (B, horizon·C, H, W); drawn at random at the start, as in the tutorial."""

    def __init__(self, context: int, horizon: int) -> None:
        super().__init__()
        self.conv = _Conv3x3x3(context, horizon)

    def forward(self, context: Tensor) -> Tensor:
        by_colour = self.conv(list(context.unbind(2)))
        return torch.stack(by_colour, dim=2).flatten(1, 2)


def build(config: Config, task: Task) -> Conv3d:
    """A `Conv3d` for a task."""
    return Conv3d(config, task)
