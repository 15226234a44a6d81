"""Single frame: a 2D network scores every frame alone, and the scores are averaged: the baseline to try first.

After Karpathy et al. 2014, https://research.google/pubs/large-scale-video-classification-with-convolutional-neural-networks/
What it gets right needs no motion. While training, each frame's own scores are trained as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from vidpred.models.blocks.flat_network import FlatNetwork, FlatSizes
from vidpred.models.blocks.karpathy2014 import FEATURES, Convolutions, fully_connected
from vidpred.models.blocks.learned_path import standardise
from vidpred.models.blocks.scoring import agreed, only_default
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config(FlatSizes):
    """What a sweep may vary."""

    scales: int = 4
    """Resolutions: that of folded pixels, half of it …"""
    variant: Literal["default", "paper"] = "default"
    """`default`, or the paper's network for frames of 170x170."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        self.check("single_frame")
        only_default("single_frame", self)


SEARCH = {
    "config": {"width": [8, 16, 32], "scales": [3, 4], "depth": [1, 2], "dropout": [0.0, 0.2, 0.5]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (10, 170, 487)}
"""Of the variants: frames, rows and columns, classes."""


class SingleFrame(Classifier):
    """Clips of any length, frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.net = FlatNetwork(config, task.channels, len(task.classes))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        logits = self.net(standardise(clip).flatten(0, 1))
        return agreed(logits.unflatten(0, clip.shape[:2]), training=self.training)


class Published(Classifier):
    """Clips of any length, frames that leave something after three poolings."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.look = Convolutions(task.channels)
        self.score: nn.Module = fully_connected(FEATURES, len(task.classes))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        maps = self.look(standardise(clip).transpose(1, 2))  # (B, 256, T, 6, 6)
        return agreed(self.score(maps.transpose(1, 2).flatten(2)), training=self.training)


def build(config: Config, task: Task) -> Classifier:
    """A `SingleFrame`, or the paper's, for a task."""
    return Published(task) if config.variant == "paper" else SingleFrame(config, task)
