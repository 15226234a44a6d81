"""Early fusion: all frames stacked on the channel axis, then 3x3 convolutions (the tutorial's first network).

`default` adds the result to the last frame and starts as exactly that. `seed` (one convolution, 408 parameters at 5
frames in and 1 out) and `starter` (the contest's, 14,467) predict colours outright, as their sources do.
Fusion as in Karpathy et al. 2014, https://research.google/pubs/large-scale-video-classification-with-convolutional-neural-networks/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed", "starter"] = "default"
    """`default`, or one of the sources' networks, of which only the noise may vary."""
    filters: int = 32
    """Channels of the hidden layers."""
    depth: int = 4
    """Convolutions, the last one to colours included: each widens the view by half a kernel on every side."""
    noise: float = 0.0
    """Noise while training. `gaussian`: its standard deviation, in units of full scale; `drop_pixels`: the share of
    pixels that turn black."""
    kernel: int = 3
    """Side of the kernels in pixels; odd."""
    noise_kind: Literal["gaussian", "drop_pixels"] = "gaussian"
    """What the noise is."""
    noise_on: Literal["learned_path", "all"] = "learned_path"
    """Whether the last frame, which the result is added to, stays clean; the sources' networks have only one path."""

    def __post_init__(self) -> None:
        between("conv2d", "filters", self.filters, 1)
        between("conv2d", "depth", self.depth, 2)
        between("conv2d", "kernel", self.kernel, 1)
        check_noise("conv2d", self.noise, self.noise_kind)
        if self.kernel % 2 == 0:
            raise UserError(f"conv2d: kernel is {self.kernel}: give an odd number")
        changed = [field for field in ("filters", "depth", "kernel") if getattr(self, field) != getattr(Config, field)]
        if self.variant != "default" and changed:
            raise UserError(f"conv2d: {', '.join(changed)} of variant {self.variant} are its source's: leave them out")


SEARCH = {
    "config": {"filters": [16, 32, 64], "depth": [3, 4, 6], "kernel": [3, 5], "noise": [0.0, 0.02, 0.1]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class Conv2d(Predictor):
    """(B, T, C, H, W) with the task's T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.length = task.context
        self.noise = Noise(config.noise, config.noise_kind, config.noise_on)
        self.residual = config.variant == "default"
        inputs, outputs = task.context * task.channels, task.horizon * task.channels
        self.net = {"default": _default, "seed": _seed, "starter": _starter}[config.variant](config, inputs, outputs)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        check_length("conv2d", context, self.length)
        noisy, carried = self.noise(context)
        seen = noisy.flatten(1, 2)
        if self.residual:
            return Output(add_residual(carried, self.net(standardise(seen)), self.steps, between=self.between))
        predicted = self.net(seen)
        height, width = context.shape[-2:]
        predicted = predicted[..., :height, :width].float()
        return Output(predicted.reshape(len(context), self.steps, -1, height, width))


def _default(config: Config, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in range(config.depth - 1):
        size, padding = config.kernel, config.kernel // 2
        layers += [nn.Conv2d(config.filters if layer else inputs, config.filters, size, padding=padding), nn.SiLU()]
    return nn.Sequential(*layers, zero_head(config.filters, outputs, config.kernel))


def _seed(config: Config, inputs: int, outputs: int) -> nn.Sequential:  # noqa: ARG001 - fixed by its source
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())


class _Halved(nn.Module):
    """Layers at half the resolution; odd sizes gain a pixel that `forward` of the model cuts off again."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.layers(F.max_pool2d(x, 2, ceil_mode=True))
        return F.interpolate(halved, scale_factor=2, mode="nearest")


def _starter(config: Config, inputs: int, outputs: int) -> nn.Sequential:  # noqa: ARG001 - fixed by its source
    return nn.Sequential(
        nn.Conv2d(inputs, 32, 3, padding=1),
        nn.ReLU(),
        _Halved(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        nn.Conv2d(32, outputs, 3, padding=1),
    )


def build(config: Config, task: Task) -> Conv2d:
    """A `Conv2d` for a task."""
    return Conv2d(config, task)
