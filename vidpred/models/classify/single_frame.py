"""Single frame: a 2D network scores every frame alone, and the scores are averaged: the baseline to try first.

After Karpathy et al. 2014, https://research.google/pubs/large-scale-video-classification-with-convolutional-neural-networks/
What it gets right needs no motion. While training, each frame's own scores are trained as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from vidpred.models.blocks.karpathy2014 import FEATURES, Convolutions, fully_connected
from vidpred.models.blocks.learned_path import fold_pixels, standardise
from vidpred.models.blocks.scales import Down, widths
from vidpred.models.blocks.scoring import agreed, he, mlp, only_default, pooled
from vidpred.models.checks import between
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "paper"] = "default"
    """`default`, or the paper's network for frames of 170x170."""
    width: int = 16
    """Channels at the finest scale; the next ones have twice, three times … as many."""
    scales: int = 4
    """Resolutions: that of folded pixels, half of it …"""
    depth: int = 1
    """Convolutions at each scale."""
    hidden: int = 64
    """Features between the maps' averages and the scores."""
    dropout: float = 0.0
    """Share of those features that is left out while training."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        for field in ("width", "depth", "hidden", "fold"):
            between("single_frame", field, getattr(self, field), 1)
        between("single_frame", "scales", self.scales, 1, 6)
        between("single_frame", "dropout", self.dropout, 0, 0.95)
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
        self.config = config
        each = widths(config.width, config.scales)
        self.look = Down(task.channels * config.fold**2, each, config.depth, norm=True)
        he(self.look)
        self.score = mlp(each[-1], config.hidden, len(task.classes), config.dropout)

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        folded = fold_pixels(standardise(clip), self.config.fold, 2 ** (self.config.scales - 1))
        logits = self.score(pooled(self.look(folded.flatten(0, 1))[-1]))
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
