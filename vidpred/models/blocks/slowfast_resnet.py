"""SlowFast-R50 as published (Feichtenhofer et al. 2019, arXiv 1812.03982): two inflated ResNets of different width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidpred.models.blocks.inflate import InflatedConv, inflate
from vidpred.models.blocks.nonlocal_after import NonLocalAfter
from vidpred.models.blocks.resnet import ResNet, every_block
from vidpred.models.blocks.scoring import he, pooled

SHARE = 8
"""The fast pathway has one channel for so many of the slow one."""
WIDTH = 64
"""Channels of the slow pathway's stem."""


class SlowFastResNet(nn.Module):
    """(B, channels, T, H, W) to logits (B, classes).

    Args:
        channels: Of a frame.
        classes: That are scored.
        every: The slow pathway sees every so manyth frame.
        fusion: Length in time of the lateral convolutions' kernels.
        nonlocal_after: Stages of the slow pathway that a non-local block follows: layer1 to layer4.
    """

    def __init__(
        self, channels: int, classes: int, *, every: int, fusion: int, nonlocal_after: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.every = every
        self.fast = ResNet(channels, 0, width=WIDTH // SHARE)
        before = [WIDTH // SHARE, *self.fast.widths.values()][:-1]  # each stage
        self.slow = ResNet(channels, 0, width=WIDTH, joined=[2 * each for each in before])
        inflate(self.slow, every_block(1, [(1,), (1,), (3,), (3,)]), "zeros")
        inflate(self.fast, every_block(5, [(3,), (3,), (3,), (3,)]), "zeros")
        for module in self.modules():  # copies would begin blind to time's direction
            if isinstance(module, InflatedConv):
                he(module)
        self.lateral = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(each, 2 * each, (fusion, 1, 1), (every, 1, 1), (fusion // 2, 0, 0), bias=False),
                nn.BatchNorm3d(2 * each),
                nn.ReLU(),
            )
            for each in before
        )
        self.attend = NonLocalAfter("slowfast", nonlocal_after, self.slow.widths)
        self.score = nn.Sequential(nn.Dropout(0.5), nn.Linear(self.slow.features_out + self.fast.features_out, classes))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        fast = self.fast.stem(x)
        slow = self.slow.stem(x[:, :, :: self.every])
        for stage, lateral in zip(self.slow.widths, self.lateral, strict=True):
            slow = getattr(self.slow, stage)(torch.cat((slow, lateral(fast)), dim=1))
            slow = self.attend.after(stage, slow)
            fast = getattr(self.fast, stage)(fast)
        logits: Tensor = self.score(torch.cat((pooled(slow), pooled(fast)), dim=1))
        return logits
