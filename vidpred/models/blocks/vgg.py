"""VGG-16 (Simonyan and Zisserman 2014, arXiv 1409.1556), for images, and for clips once it is inflated.

Names are timm's, of `vgg16`, where the first two linear layers are convolutions over the last 7x7 maps.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.models.blocks.images import ImageNetwork
from vidpred.models.blocks.inflate import Plan
from vidpred.models.blocks.resnet import MEAN, STD
from vidpred.models.blocks.scoring import pooled, resized

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions before each pooling."""
SIDE = 7
"""Rows and columns of the last maps, of images of 224x224."""


class PreLogits(nn.Module):
    """The first two linear layers, on maps (N, 512, …, 7, 7): to (N, hidden, …, 1, 1)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(WIDTHS[-1][-1], hidden, SIDE)
        self.fc2 = nn.Conv2d(hidden, hidden, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        dropped: Tensor = self.drop(F.relu(self.fc2(self.drop(F.relu(self.fc1(x))))))
        return dropped


class Head(nn.Module):
    """The scores."""

    def __init__(self, hidden: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, hidden) to (N, classes)."""
        logits: Tensor = self.fc(x)
        return logits


class Vgg16(ImageNetwork):
    """(N, channels, …, H, W) to logits (N, classes).

    Args:
        channels: That go in.
        classes: That come out; 0: features.
        hidden: Features of the linear layers; published weights have 4,096.
    """

    mean, std = MEAN, STD

    def __init__(self, channels: int, classes: int, hidden: int = 4096) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends = [0]
        for stage in WIDTHS:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
            self.ends.append(len(layers))
        self.features = nn.Sequential(*layers)
        self.widths = {f"stage{number}": stage[-1] for number, stage in enumerate(WIDTHS, start=1)}
        self.features_out = hidden
        self.pre_logits = PreLogits(hidden)
        self.head: nn.Module = Head(hidden, classes) if classes else nn.Identity()

    def stage(self, name: str, maps: Tensor) -> Tensor:
        """See `ImageNetwork.stage`; a pooling ends each."""
        number = list(self.widths).index(name)
        made: Tensor = self.features[self.ends[number] : self.ends[number + 1]](maps)
        return made

    def score(self, maps: Tensor) -> Tensor:
        """See `ImageNetwork.score`."""
        maps = resized(maps, (*maps.shape[2:-2], SIDE, SIDE))
        logits: Tensor = self.head(pooled(self.pre_logits(maps)))
        return logits


def all_convolutions(length: int) -> Plan:
    """Kernels of so many moments in every convolution; poolings two by two in time, but for the first, as in C3D, and
    the last."""

    def plan(name: str) -> tuple[int, int]:
        layer = name.removeprefix("features.")
        if layer == name:  # the linear layers
            return 1, 1
        pools = {4: 1, 9: 2, 16: 2, 23: 2, 30: 1}
        if int(layer) in pools:
            return pools[int(layer)], pools[int(layer)]
        return length, 1

    return plan
