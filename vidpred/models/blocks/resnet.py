"""ResNet with bottlenecks (He et al. 2015, arXiv 1512.03385), for images, and for clips once it is inflated.

Names are timm's, of `resnet50`. Strides are in the 3x3 convolutions, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.models.blocks.images import ImageNetwork
from vidpred.models.blocks.inflate import Plan
from vidpred.models.blocks.scoring import pooled

DEPTHS = (3, 4, 6, 3)
"""Blocks of the stages of ResNet-50."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, which the published weights expect to be taken off and divided by."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to four times `width` channels, and what went in."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, …, H, W) to (N, 4·width, …, H/stride, W/stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(ImageNetwork):
    """(N, channels, …, H, W) to logits (N, classes).

    Args:
        channels: That go in.
        classes: That come out; 0: features.
        width: Channels of the stem and, in the middle, of the first stage's blocks.
        joined: Channels that are joined to the input of each stage; see `slowfast`.
        dropout: Share of the features that is left out while training.
    """

    mean, std = MEAN, STD
    pool_time: Mapping[str, int] = {"layer1": 2}

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int = 64,
        joined: Sequence[int] = (0, 0, 0, 0),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.widths = {f"layer{number + 1}": 4 * width * 2**number for number in range(len(DEPTHS))}
        inputs = width
        for number, (stage, outputs) in enumerate(self.widths.items()):
            blocks = [Bottleneck(inputs + joined[number], outputs // 4, 2 if number else 1)]
            blocks += [Bottleneck(outputs, outputs // 4, 1) for _ in range(DEPTHS[number] - 1)]
            setattr(self, stage, nn.Sequential(*blocks))
            inputs = outputs
        self.features_out = inputs
        self.drop = nn.Dropout(dropout)
        self.fc: nn.Module = nn.Linear(inputs, classes) if classes else nn.Identity()

    def stem(self, x: Tensor) -> Tensor:
        """A quarter of the places a side."""
        stemmed: Tensor = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return stemmed

    def stage(self, name: str, maps: Tensor) -> Tensor:
        """See `ImageNetwork.stage`."""
        made: Tensor = getattr(self, name)(self.stem(maps) if name == "layer1" else maps)
        return made

    def score(self, maps: Tensor) -> Tensor:
        """See `ImageNetwork.score`."""
        logits: Tensor = self.fc(self.drop(pooled(maps)))
        return logits


def every_block(stem: int, stages: Sequence[Sequence[int]]) -> Plan:
    """Kernels in time: of the stem, and of the first convolution of the blocks of each stage (1: none)."""

    def plan(name: str) -> tuple[int, int]:
        if name == "conv1":
            return stem, 1
        stage, _, rest = name.partition(".")
        if stage.startswith("layer") and rest.endswith(".conv1"):
            lengths = stages[int(stage.removeprefix("layer")) - 1]
            return lengths[int(rest.split(".")[0]) % len(lengths)], 1
        return 1, 1

    return plan
