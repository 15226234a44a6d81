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
from vidpred.models.blocks.learned_path import add_noise, add_residual, standardise, zero_head
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed", "starter"] = "default"
    """`default`, or one of the sources' networks, of which only `noise` may vary."""
    filters: int = 32
    """Channels of the hidden layers."""
    depth: int = 4
    """Convolutions, the last one to colours included: each widens the view by a pixel on every side."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on the learned path while training, in units of full scale."""

    def __post_init__(self) -> None:
        between("conv2d", "filters", self.filters, 1)
        between("conv2d", "depth", self.depth, 2)
        between("conv2d", "noise", self.noise, 0)
        if self.variant != "default" and (self.filters, self.depth) != (Config.filters, Config.depth):
            raise UserError(f"conv2d: filters and depth of variant {self.variant} are its source's: leave them out")


class Conv2d(Predictor):
    """(B, T, C, H, W) with the task's T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.noise = config.noise
        self.residual = config.variant == "default"
        inputs, outputs = task.context * task.channels, task.horizon * task.channels
        self.net = {"default": _default, "seed": _seed, "starter": _starter}[config.variant](config, inputs, outputs)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        seen = add_noise(context, self.noise, training=self.training).flatten(1, 2)
        if self.residual:
            return Output(add_residual(context, self.net(standardise(seen)), self.steps))
        predicted = self.net(seen)
        height, width = context.shape[-2:]
        predicted = predicted[..., :height, :width].float()
        return Output(predicted.reshape(len(context), self.steps, -1, height, width))


def _default(config: Config, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in range(config.depth - 1):
        layers += [nn.Conv2d(config.filters if layer else inputs, config.filters, 3, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, zero_head(config.filters, outputs))


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
