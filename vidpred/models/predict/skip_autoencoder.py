"""Autoencoder with skip connections, as U-Net (Ronneberger et al. 2015, arXiv 1505.04597): stacked frames in, one out.

Longer horizons are rolled out on its own frames. `seed` follows the UCF-101 line: encoder of 32, 64, 128, 256 and 512
filters of stride 2, decoder mirrored, skips concatenated, pixels in [-1, 1], tanh; with 4x4 kernels, which the source
leaves open, 6,269,379 parameters at 4 frames in. `default` is smaller, adds its result to the last frame and starts as
exactly that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import add_residual, check_length, fold_pixels, standardise, zero_head
from vidpred.models.blocks.pixels import from_signed, to_signed
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed"] = "default"
    """`default`, or the source's network, of which nothing may vary."""
    filters: int = 24
    """Channels of the first level; each deeper one has twice as many."""
    depth: int = 3
    """Levels, each at half the resolution of the one above."""

    def __post_init__(self) -> None:
        between("skip_autoencoder", "filters", self.filters, 1)
        between("skip_autoencoder", "depth", self.depth, 1, 7)
        if self.variant != "default" and (self.filters, self.depth) != (Config.filters, Config.depth):
            raise UserError(
                f"skip_autoencoder: filters and depth of variant {self.variant} are its source's: leave them out"
            )


SEARCH = {
    "config": {"filters": [16, 24, 32], "depth": [2, 3, 4]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class SkipAutoencoder(Predictor):
    """(B, T, C, H, W) with the task's T in, one frame out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.residual = config.variant == "default"
        self.context = task.context
        filters, depth = (config.filters, config.depth) if self.residual else (32, 5)
        self.multiple = 2**depth
        widths = [filters * 2**level for level in range(depth)]
        inputs = task.context * task.channels
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2))
            for before, after in zip([inputs, *widths], widths, strict=False)
        )
        above = widths[-2::-1]
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2))
            for before, after in zip([widths[-1], *(2 * width for width in above)], above, strict=False)
        )
        top = 2 * filters if depth > 1 else filters
        if self.residual:
            self.decoder.append(
                nn.Sequential(nn.ConvTranspose2d(top, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2))
            )
            self.head: nn.Module = zero_head(filters + inputs, task.channels)
        else:
            self.head = nn.Sequential(nn.ConvTranspose2d(top, task.channels, 4, stride=2, padding=1), nn.Tanh())

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        check_length("skip_autoencoder", context, self.context)
        height, width = context.shape[-2:]
        stacked = fold_pixels(context, 1, self.multiple).flatten(1, 2)
        scaled = standardise(stacked) if self.residual else to_signed(stacked)
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        levels = [scaled]
        for layer in self.encoder:
            levels.append(layer(levels[-1]))
        found = levels.pop()
        for layer in self.decoder:
            found = layer(found)
            found = torch.cat((found, levels.pop().to(found.dtype)), dim=1)
        found = self.head(found)[..., :height, :width]
        if self.residual:
            return Output(add_residual(context, found, 1, between=self.between))
        return Output(from_signed(found)[:, None])


def build(config: Config, task: Task) -> SkipAutoencoder:
    """A `SkipAutoencoder` for a task."""
    return SkipAutoencoder(config, task)
