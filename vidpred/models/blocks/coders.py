"""Two halves of an autoencoder of single frames: one from frames to a vector of features, one from features to frames.

Each function gives both and the number of features. In: (N, C, H, W), out: (N, features); and back, without an
activation at the end.
"""

from __future__ import annotations

import itertools

from torch import nn

SIDE = 64
"""Rows and columns of the frames of `of_world_models`."""

Coders = tuple[nn.Sequential, nn.Sequential, int]


def halving(channels: int, filters: int, size: tuple[int, int]) -> Coders:
    """Four halvings and four doublings, normalised within each frame.

    Args:
        channels: Of a frame.
        filters: Channels at half the resolution; twice as many at a quarter, four times from an eighth on.
        size: Height and width, multiples of 16.
    """
    widths = [channels, *(filters * k for k in (1, 2, 4, 4))]
    rows, columns = (side // 16 for side in size)
    down: list[nn.Module] = []
    up: list[nn.Module] = [nn.Unflatten(-1, (widths[-1], rows, columns))]
    for wide, narrow in itertools.pairwise(widths[::-1]):
        # without norms it paints the mean of all frames for the first thousands of steps
        up += [nn.GroupNorm(1, wide), nn.SiLU(), nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1)]
        down = [nn.Conv2d(narrow, wide, 4, stride=2, padding=1), nn.GroupNorm(1, wide), nn.SiLU(), *down]
    return nn.Sequential(*down, nn.Flatten()), nn.Sequential(*up), widths[-1] * rows * columns


def of_world_models(channels: int) -> Coders:
    """Those of Ha and Schmidhuber 2018 (arXiv 1803.10122), for frames of 64x64: 1,024 features, which the decoder takes
    for one pixel of as many channels.

    Args:
        channels: Of a frame.
    """
    down: list[nn.Module] = []
    for narrow, wide in itertools.pairwise((channels, 32, 64, 128, 256)):
        down += [nn.Conv2d(narrow, wide, 4, stride=2), nn.ReLU()]
    up: list[nn.Module] = [nn.Unflatten(-1, (1024, 1, 1))]
    for (wide, narrow), kernel in zip(itertools.pairwise((1024, 128, 64, 32, channels)), (5, 5, 6, 6), strict=True):
        up += [nn.ConvTranspose2d(wide, narrow, kernel, stride=2), nn.ReLU()]
    return nn.Sequential(*down, nn.Flatten()), nn.Sequential(*up[:-1]), 1024
