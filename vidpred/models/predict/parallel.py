"""Three strategies side by side on the same frames, mixed by a 2D convolution: stacked frames, slow fusion, ConvLSTM.

After the tutorial's community benchmark, where nets that concatenate a 2D, a 3D and a ConvLSTM branch did well; no
sizes are in print, so there is no `seed`. Adds to the last frame and starts as exactly that. The branches are those
of `conv2d`, `conv3d` and `convlstm`, over squares of pixels folded into channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import (
    Noise,
    add_residual,
    check_length,
    check_noise,
    fold_pixels,
    standardise,
    unfold_pixels,
    zero_head,
)
from vidpred.models.blocks.recurrent import ConvLSTM
from vidpred.models.blocks.slow_fusion import SlowFusion
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    filters: int = 16
    """Channels of each branch."""
    depth: int = 3
    """Convolutions of the 2D and of the 3D branch."""
    layers: int = 1
    """ConvLSTMs, each fed by the states of the one below."""
    kernel: int = 3
    """Side of the kernels, in (folded) pixels; odd. The 3D branch always has 3x3x3."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""
    conv2d: bool = True
    """Whether there is a branch of 2D convolutions over the stacked frames; it binds the context length."""
    conv3d: bool = True
    """Whether there is a branch of 3D convolutions over time, rows and columns."""
    convlstm: bool = True
    """Whether there is a ConvLSTM branch."""
    noise: float = 0.0
    """Noise while training. `gaussian`: its standard deviation, in units of full scale; `drop_pixels`: the share of
    pixels that turn black."""
    noise_kind: Literal["gaussian", "drop_pixels"] = "gaussian"
    """What the noise is."""
    noise_on: Literal["learned_path", "all"] = "learned_path"
    """Whether the last frame, which the result is added to, stays clean."""

    def __post_init__(self) -> None:
        for field in ("filters", "depth", "layers", "kernel", "fold"):
            between("parallel", field, getattr(self, field), 1)
        check_noise("parallel", self.noise, self.noise_kind)
        if self.kernel % 2 == 0:
            raise UserError(f"parallel: kernel is {self.kernel}: give an odd number")
        if not (self.conv2d or self.conv3d or self.convlstm):
            raise UserError("parallel: conv2d, conv3d and convlstm are all false: give at least one branch")


SEARCH = {
    "config": {"filters": [8, 16, 32], "depth": [2, 3, 4], "layers": [1, 2], "fold": [2, 4]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class Parallel(Predictor):
    """(B, T, C, H, W) in, the whole horizon out; frames of any size, and any T where there is no 2D branch."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.fold = config.fold
        self.length = task.context if config.conv2d else None
        self.noise = Noise(config.noise, config.noise_kind, config.noise_on)
        filters, inputs = config.filters, task.channels * config.fold**2
        branches: list[nn.Module] = []
        if config.conv2d:
            branches.append(_Stacked(config, task.context * inputs))
        if config.conv3d:
            branches.append(SlowFusion(inputs, filters, config.depth, pool="mean", pool_every=1))
        if config.convlstm:
            branches.append(_Recurrent(config, inputs))
        self.branches = nn.ModuleList(branches)
        self.mix = zero_head(len(branches) * filters, task.horizon * inputs, config.kernel)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        if self.length is not None:
            check_length("parallel with a conv2d branch", context, self.length)
        seen, carried = self.noise(context)
        folded = fold_pixels(standardise(seen), self.fold)
        found = [branch(folded) for branch in self.branches]
        together = torch.cat([features.to(found[0].dtype) for features in found], dim=1)
        residual = unfold_pixels(self.mix(together), self.fold, *context.shape[-2:])
        return Output(add_residual(carried, residual, self.steps, between=self.between))


class _Stacked(nn.Module):
    """(B, T, C, H, W) to (B, filters, H, W): the frames are channels of one picture."""

    def __init__(self, config: Config, inputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for layer in range(config.depth):
            before = config.filters if layer else inputs
            layers += [nn.Conv2d(before, config.filters, config.kernel, padding=config.kernel // 2), nn.SiLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, frames: Tensor) -> Tensor:
        stacked = frames.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.layers(stacked)
        return features


class _Recurrent(nn.Module):
    """(B, T, C, H, W) to (B, filters, H, W): the last state."""

    def __init__(self, config: Config, inputs: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList(
            ConvLSTM(config.filters if layer else inputs, config.filters, config.kernel)
            for layer in range(config.layers)
        )

    def forward(self, frames: Tensor) -> Tensor:
        states = list(frames.unbind(1))
        for cell in self.cells:
            states = cell(states)
        return states[-1]


def build(config: Config, task: Task) -> Parallel:
    """A `Parallel` for a task."""
    return Parallel(config, task)
