"""The two pathways of SlowFast (Feichtenhofer et al. 2019, arXiv 1812.03982), small, on maps that a CPU convolves fast.

The slow pathway sees every n-th frame with many channels, the fast one all frames with a share of them. At every scale
what the fast one found is handed to the slow one (a time-strided convolution over moments to twice its channels,
concatenated). The fast pathway convolves over time everywhere, the slow one only at its last scale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.models.blocks.scales import conv, halve, widths
from vidpred.models.blocks.slow_fusion import Conv3x3x3

Layers = tuple[nn.ModuleList, nn.ModuleList, nn.ModuleList]
"""Of the slow pathway, of the fast one, and the lateral connections; one of each a scale."""


def slow_widths(width: int, share: int, scales: int) -> list[int]:
    """Channels of the slow pathway after each scale, with those that it was handed."""
    return [a + 2 * b for a, b in zip(widths(width, scales), widths(width // share, scales), strict=True)]


def make_pathways(channels: int, width: int, share: int, scales: int, fusion: int, *, norm: bool = False) -> Layers:
    """The layers, for a model to keep as its own.

    Args:
        channels: Of what both see.
        width: Channels of the slow pathway at the finest scale; the next ones have twice, three times … as many.
        share: The fast pathway has one channel for so many of the slow one.
        scales: Resolutions.
        fusion: Moments of the fast pathway, around each slow one, that a lateral connection sees; odd.
        norm: Whether batch norm follows the pathways' convolutions.
    """
    slow, fast = (widths(each, scales) for each in (width, width // share))
    joined = slow_widths(width, share, scales)
    *alone, last = zip([channels, *joined[:-1]], slow, strict=True)
    return (
        nn.ModuleList([*(conv(*pair, norm=norm) for pair in alone), Conv3x3x3(*last, norm=norm)]),
        nn.ModuleList(Conv3x3x3(a, b, norm=norm) for a, b in zip([channels, *fast[:-1]], fast, strict=True)),
        nn.ModuleList(nn.Conv2d(fusion * each, 2 * each, 1) for each in fast),
    )


def run_pathways(
    layers: Layers,
    frames: Tensor,
    *,
    every: int,
    fusion: int,
    pool: Literal["mean", "max"] = "mean",
    after: Callable[[int, Tensor], Tensor] | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """Both pathways' maps (B, T', C, H, W) and (B, T, c, H, W) at every scale, finest first.

    Args:
        layers: Of `make_pathways`.
        frames: (B, T, channels, H, W) with any T; H and W are multiples of 2^(scales - 1).
        every: The slow pathway sees every so manyth frame, counted back from the newest.
        fusion: As for `make_pathways`.
        pool: What is handed to the next scale of 2x2 places.
        after: What is done to the slow maps (B, T', C, H, W) after a scale, counted from 0.
    """
    kept = list(range(frames.shape[1] - 1, -1, -every))[::-1]
    slow, fast = frames[:, kept], frames
    found = []
    for scale, (of_slow, of_fast, lateral) in enumerate(zip(*layers, strict=True)):
        if scale:
            slow, fast = halve(slow, pool), halve(fast, pool)
        slow = _slow(of_slow, slow)
        fast = F.silu(by_moment(of_fast, fast))
        slow = torch.cat((slow, handed_over(lateral, fast, kept, fusion)), dim=2)
        if after is not None:
            slow = after(scale, slow)
        found.append((slow, fast))
    return found


def by_moment(convolve: nn.Module, x: Tensor) -> Tensor:
    """(B, T, C, H, W) through a module that takes a list of moments."""
    return torch.stack(convolve(list(x.unbind(1))), dim=1)


def _slow(layer: nn.Module, slow: Tensor) -> Tensor:
    """(B, T', C, H, W) to the channels of a scale: moments alone, or with their neighbours."""
    if isinstance(layer, Conv3x3x3):
        return F.silu(by_moment(layer, slow))
    frames = slow.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    found: Tensor = layer(frames).unflatten(0, slow.shape[:2])
    return found


def handed_over(lateral: nn.Module, fast: Tensor, kept: list[int], fusion: int) -> Tensor:
    """(B, T, C, H, W) to (B, T', 2·C, H, W): the fast moments around each slow one, zeros beyond the ends."""
    beyond = fusion // 2
    padded = F.pad(fast, (0, 0, 0, 0, 0, 0, beyond, beyond))
    around = torch.stack([padded[:, t : t + fusion].flatten(1, 2) for t in kept], dim=1)
    handed: Tensor = lateral(around.flatten(0, 1).contiguous(memory_format=torch.channels_last))
    over: Tensor = F.silu(handed).unflatten(0, around.shape[:2])
    return over
