"""Adversaries: networks that tell true frames from predicted ones, given the context; one for every scale.

They are no part of a predictor: whoever trains against them owns them and their optimiser. All give logits, so that
`binary_cross_entropy_with_logits` applies (true 1, predicted 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import standardise
from vidpred.models.blocks.pixels import to_signed


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, T, C, H, W) to another height and width, float32, each pixel the mean over the area that it covers."""
    if frames.shape[-2:] == size:
        return frames.float()
    resized: Tensor = F.interpolate(frames.flatten(0, 1).float(), size=size, mode="area")
    return resized.reshape(*frames.shape[:3], *size)


class Discriminators(nn.Module):
    """One discriminator per scale, none of which knows of the others (Mathieu et al. 2015, arXiv 1511.05440).

    Args:
        judges: From (B, (T + steps)·C, h, w) in [0, 1] to logits (B,), coarsest first.
    """

    def __init__(self, judges: Sequence[nn.Module]) -> None:
        super().__init__()
        self.judges = nn.ModuleList(judges)

    def forward(self, context: Tensor, frames: Sequence[Tensor]) -> list[Tensor]:
        """How true the frames look at every scale.

        Args:
            context: (B, T, C, H, W) in [0, 1]; scaled down to the size of each of `frames`.
            frames: (B, steps, C, h, w) in [0, 1], true or predicted, a scale each, coarsest first.

        Returns:
            Logits (B,), a scale each.
        """
        if len(frames) != len(self.judges):
            raise ValueError(f"there are {len(self.judges)} scales but frames of {len(frames)}")
        logits = []
        for judge, shown in zip(self.judges, frames, strict=True):
            seen = resize(context, (shown.shape[-2], shown.shape[-1]))
            logits.append(judge(torch.cat((seen, shown.float()), dim=1).flatten(1, 2)))
        return logits


class SizedDiscriminator(nn.Module):
    """The paper's: convolutions without padding, one 2x2 pooling, fully connected layers; for one frame size.

    Args:
        channels: Of the input: those of context and frames together.
        filters: Of each convolution.
        kernels: Sides of their kernels.
        hidden: Sizes of the fully connected layers before the last.
        size: (height, width) of the frames.

    Raises:
        UserError: the convolutions leave nothing of frames so small.
    """

    def __init__(
        self,
        channels: int,
        filters: tuple[int, ...],
        kernels: tuple[int, ...],
        hidden: tuple[int, ...],
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        left = [(side - sum(kernel - 1 for kernel in kernels)) // 2 for side in size]
        if min(left) < 1:
            least = 2 + sum(kernel - 1 for kernel in kernels)
            raise UserError(
                f"a discriminator of the paper needs frames of at least {least}x{least} at its scale, these are "
                f"{size[0]}x{size[1]}: take larger frames or variant default"
            )
        layers: list[nn.Module] = []
        for before, after, kernel in zip((channels, *filters), filters, kernels, strict=False):
            layers += [nn.Conv2d(before, after, kernel), nn.ReLU()]
        layers += [nn.MaxPool2d(2), nn.Flatten()]
        for before, after in zip((filters[-1] * left[0] * left[1], *hidden), hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden[-1], 1))

    def forward(self, frames: Tensor) -> Tensor:
        """(B, channels, h, w) in [0, 1] to logits (B,)."""
        logits: Tensor = self.net(to_signed(frames))
        return logits.float().flatten()


class PatchDiscriminator(nn.Module):
    """Judges patches and takes the mean (Isola et al. 2017, arXiv 1611.07004); frames of any size.

    Args:
        channels: Of the input: those of context and frames together.
        filters: Channels of the first layer; each of the others has twice as many as the one before.
        layers: Convolutions of stride 2.
    """

    def __init__(self, channels: int, filters: int, layers: int = 2) -> None:
        super().__init__()
        widths = [channels, *(filters * 2**layer for layer in range(layers))]
        net: list[nn.Module] = []
        for before, after in pairwise(widths):
            net += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*net, nn.Conv2d(widths[-1], 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """(B, channels, h, w) in [0, 1] to logits (B,)."""
        patches: Tensor = self.net(standardise(frames).contiguous(memory_format=torch.channels_last))
        return patches.float().mean(dim=(1, 2, 3))
