"""Inception-v1 (Szegedy et al. 2014, arXiv 1409.4842) with batch norm, for images, and for clips once it is inflated.

Names are torchvision's, of `googlenet`; as there, and as in I3D, what is drawn as a 5x5 convolution is one of 3x3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.models.blocks.images import ImageNetwork
from vidpred.models.blocks.scoring import pooled

MODULES = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
"""Channels: 1x1; before and after 3x3; before and after the second 3x3; after the pooling."""


class Unit(nn.Module):
    """A convolution without bias, batch norm and ReLU; as many places as went in, by `stride`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, …) to (N, outputs, …)."""
        return F.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four ways side by side, joined."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        alone, before3, after3, before5, after5, after_pool = widths
        self.branch1 = Unit(inputs, alone, 1)
        self.branch2 = nn.Sequential(Unit(inputs, before3, 1), Unit(before3, after3, 3))
        self.branch3 = nn.Sequential(Unit(inputs, before5, 1), Unit(before5, after5, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), Unit(inputs, after_pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, …) to (N, sum of what comes out, …)."""
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), dim=1)


STAGES = {
    "conv1": ("conv1",),
    "conv3": ("maxpool1", "conv2", "conv3"),
    "inception3b": ("maxpool2", "inception3a", "inception3b"),
    "inception4e": ("maxpool3", *(f"inception4{letter}" for letter in "abcde")),
    "inception5b": ("maxpool4", "inception5a", "inception5b"),
}
"""Layers of each stage, which bears the last one's name."""


class InceptionV1(ImageNetwork):
    """(N, channels, …, H, W) to logits (N, classes).

    Args:
        channels: That go in.
        classes: That come out; 0: features.
    """

    std = (0.5, 0.5, 0.5)

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = Unit(channels, 64, 7, 2)
        self.conv2 = Unit(64, 64, 1)
        self.conv3 = Unit(64, 192, 3)
        inputs = 192
        made = {"conv1": 64, "conv3": inputs}
        for name, widths in MODULES.items():
            setattr(self, name, Inception(inputs, widths))
            inputs = made[name] = widths[0] + widths[2] + widths[4] + widths[5]
        for number, side in enumerate((3, 3, 3, 2), start=1):
            setattr(self, f"maxpool{number}", nn.MaxPool2d(side, 2, 0, ceil_mode=True))
        self.widths = {stage: made[stage] for stage in STAGES}
        self.features_out = inputs
        self.dropout = nn.Dropout(0.2)
        self.fc: nn.Module = nn.Linear(inputs, classes) if classes else nn.Identity()

    def stage(self, name: str, maps: Tensor) -> Tensor:
        """See `ImageNetwork.stage`."""
        for layer in STAGES[name]:
            maps = getattr(self, layer)(maps)
        return maps

    def score(self, maps: Tensor) -> Tensor:
        """See `ImageNetwork.score`."""
        logits: Tensor = self.fc(self.dropout(pooled(maps)))
        return logits


def as_published(name: str) -> tuple[int, int]:
    """Kernels and steps in time as in Carreira and Zisserman 2017: half of the moments at conv1, maxpool3, maxpool4."""
    of_stem = {"conv1.conv": (7, 2), "maxpool1": (1, 1), "conv2.conv": (1, 1), "conv3.conv": (3, 1)}
    of_pools = {"maxpool2": (1, 1), "maxpool3": (3, 2), "maxpool4": (2, 2)}
    known = of_stem | of_pools
    if name in known:
        return known[name]
    three = name.endswith(("branch2.1.conv", "branch3.1.conv", "branch4.0"))
    return (3, 1) if three else (1, 1)
