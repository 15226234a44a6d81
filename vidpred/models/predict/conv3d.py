"""Slow fusion: 3x3x3 convolutions over time, rows and columns, with pooling over time; adds to the last frame.

After Karpathy et al. 2014, https://research.google/pubs/large-scale-video-classification-with-convolutional-neural-networks/
and Tran et al. 2015 (C3D, arXiv 1412.0767). `seed` is the tutorial's network instead: one 3x3x3 convolution over rows,
columns and *colours*, with the frames as its channels (136 parameters at 5 frames in and 1 out); `axes: hwc` is that
with any depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import (
    Noise,
    add_residual,
    check_length,
    check_noise,
    standardise,
    zero_head,
)
from vidpred.models.blocks.slow_fusion import Conv3x3x3, SlowFusion
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed"] = "default"
    """`default`, or the tutorial's network (its axes are `hwc`), of which only the noise may vary."""
    filters: int = 16
    """Channels of the hidden layers."""
    depth: int = 3
    """3x3x3 convolutions before the one that gives the colours."""
    noise: float = 0.0
    """Noise while training. `gaussian`: its standard deviation, in units of full scale; `drop_pixels`: the share of
    pixels that turn black."""
    axes: Literal["thw", "hwc"] = "thw"
    """What the kernels slide over: `thw` time, rows and columns, the colours being channels; `hwc` rows, columns and
    colours, the frames being channels, so that context lengths other than the trained one are refused."""
    pool: Literal["mean", "max", "none"] = "mean"
    """How neighbouring moments become one, for `thw`; those left after the last convolution are averaged."""
    pool_every: int = 1
    """Convolutions between two poolings over time, for `thw`."""
    noise_kind: Literal["gaussian", "drop_pixels"] = "gaussian"
    """What the noise is."""
    noise_on: Literal["learned_path", "all"] = "learned_path"
    """Whether the last frame, which the result is added to, stays clean."""

    def __post_init__(self) -> None:
        between("conv3d", "filters", self.filters, 1)
        between("conv3d", "depth", self.depth, 1)
        between("conv3d", "pool_every", self.pool_every, 1)
        check_noise("conv3d", self.noise, self.noise_kind)
        pooling = [field for field in ("pool", "pool_every") if getattr(self, field) != getattr(Config, field)]
        changed = [field for field in ("filters", "depth") if getattr(self, field) != getattr(Config, field)] + pooling
        if self.variant != "default" and changed:
            raise UserError(f"conv3d: {', '.join(changed)} of variant {self.variant} are its source's: leave them out")
        if self.axes == "hwc" and pooling:
            raise UserError(
                f"conv3d: with axes hwc no time is pooled: leave {', '.join(pooling)} out, or set axes: thw"
            )


SEARCH = {
    "config": {"filters": [8, 16, 32], "depth": [2, 3, 4], "pool": ["mean", "max"], "noise": [0.0, 0.02, 0.1]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class Conv3d(Predictor):
    """(B, T, C, H, W) in, the whole horizon out; frames of any size. Only `hwc` is bound to the task's T."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.noise = Noise(config.noise, config.noise_kind, config.noise_on)
        over_time = config.variant == "default" and config.axes == "thw"
        self.length = None if over_time else task.context
        self.net: nn.Module
        if over_time:
            self.net = _OverTime(config, task.channels, task.horizon)
        elif config.variant == "seed":
            self.net = _OverColours(task.context, task.horizon)
        else:
            self.net = _DeepOverColours(config, task.context, task.horizon)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        if self.length is not None:
            check_length("conv3d with axes hwc", context, self.length)
        seen, carried = self.noise(context)
        return Output(add_residual(carried, self.net(seen), self.steps, between=self.between))


class _OverTime(SlowFusion):
    """(B, T, C, H, W) to a residual (B, horizon·C, H, W), zero at the start."""

    def __init__(self, config: Config, channels: int, horizon: int) -> None:
        super().__init__(channels, config.filters, config.depth, config.pool, config.pool_every)
        self.head = zero_head(config.filters, horizon * channels)

    def forward(self, frames: Tensor) -> Tensor:
        residual: Tensor = self.head(super().forward(standardise(frames)))
        return residual


class _OverColours(nn.Module):
    """(B, T, C, H, W) to a residual (B, horizon·C, H, W); drawn at random at the start, as in the tutorial."""

    def __init__(self, context: int, horizon: int) -> None:
        super().__init__()
        self.conv = Conv3x3x3(context, horizon)

    def forward(self, context: Tensor) -> Tensor:
        by_colour = self.conv(list(context.unbind(2)))
        return torch.stack(by_colour, dim=2).flatten(1, 2)


class _DeepOverColours(nn.Module):
    """(B, T, C, H, W) to a residual (B, horizon·C, H, W), zero at the start."""

    def __init__(self, config: Config, context: int, horizon: int) -> None:
        super().__init__()
        filters = config.filters
        self.convs = nn.ModuleList(Conv3x3x3(filters if layer else context, filters) for layer in range(config.depth))
        self.head = Conv3x3x3(filters, horizon)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, context: Tensor) -> Tensor:
        planes = list(standardise(context).unbind(2))
        for conv in self.convs:
            planes = [F.silu(plane) for plane in conv(planes)]
        return torch.stack(self.head(planes), dim=2).flatten(1, 2)


def build(config: Config, task: Task) -> Conv3d:
    """A `Conv3d` for a task."""
    return Conv3d(config, task)
