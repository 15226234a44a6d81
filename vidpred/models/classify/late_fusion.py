"""Late fusion: one 2D network with shared weights looks at every frame alone; what it found is joined only at the end.

After Karpathy et al. 2014, https://research.google/pubs/large-scale-video-classification-with-convolutional-neural-networks/
With `head: fc`, the features of all frames lie side by side before two linear layers, which compare them. With `pool`
they are averaged over frames and places first, so that the order of the frames is gone; any length will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vidpred.models.blocks.karpathy2014 import FEATURES, Convolutions, fully_connected
from vidpred.models.blocks.learned_path import check_length, fold_pixels, standardise
from vidpred.models.blocks.scales import Down, widths
from vidpred.models.blocks.scoring import ClipNorm, Places, he, only_default, pooled
from vidpred.models.blocks.toys import Toy
from vidpred.models.checks import between
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "paper", "toy"] = "default"
    """`default`; the paper's: the first and the last frame in two towers of shared weights, for frames of 170x170; or
    the lecture's toy, which pools."""
    head: Literal["fc", "pool"] = "fc"
    """How frames are joined."""
    width: int = 16
    """Channels at the finest scale; the next ones have twice, three times … as many."""
    scales: int = 2
    """Resolutions: that of folded pixels, half of it … Frames are compared at the last: what moves by less than its
    places are apart is hard to see."""
    depth: int = 1
    """Convolutions at each scale."""
    compare: Literal["places", "frames"] = "places"
    """For `fc`, what the linear layers see. `places`: all frames' features of one place; the same layers are used at
    all places, and of what they find the most of any place is scored. `frames`: whole frames, averaged to `grid` places
    a side, as in the lecture: where something was is then known to them, and what was learned in one corner is not
    known in another."""
    grid: int = 8
    """For `compare: frames`: places a side whose features are kept apart."""
    kept: int = 8
    """For `compare: frames`: features of each place."""
    hidden: int = 128
    """Features between what was joined and the scores."""
    dropout: float = 0.0
    """Share of those features that is left out while training."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        for field in ("width", "depth", "grid", "kept", "hidden", "fold"):
            between("late_fusion", field, getattr(self, field), 1)
        between("late_fusion", "scales", self.scales, 1, 6)
        between("late_fusion", "dropout", self.dropout, 0, 0.95)
        only_default("late_fusion", self)


SEARCH = {
    "config": {
        "head": ["fc", "pool"],
        "width": [8, 16, 32],
        "scales": [2, 3],
        "compare": ["places", "frames"],
        "hidden": [64, 128, 256],
    },
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (10, 170, 487), "toy": (20, 64, 2)}
"""Of the variants: frames, rows and columns, classes."""


class LateFusion(Classifier):
    """Frames of any size, and clips of any length where `head` is `pool`."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.length = task.context if config.head == "fc" else None
        each = widths(config.width, config.scales)
        self.look = Down(task.channels * config.fold**2, each, config.depth, norm=True)
        he(self.look)
        each_frame = each[-1]
        if config.head == "fc" and config.compare == "frames":
            self.places = Places(each[-1], config.kept, config.grid)
            each_frame = self.places.features
        joined = task.context * each_frame if config.head == "fc" else each_frame
        self.join = nn.Sequential(
            he(nn.Linear(joined, config.hidden)), nn.SiLU(), he(nn.Linear(config.hidden, config.hidden)), nn.SiLU()
        )
        self.score = nn.Sequential(
            ClipNorm(config.hidden), nn.Dropout(config.dropout), nn.Linear(config.hidden, len(task.classes))
        )

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`.

        Raises:
            UserError: another T than the one it was built for, which `fc` needs.
        """
        if self.length is not None:
            check_length("late_fusion with head: fc", clip, self.length)
        folded = fold_pixels(standardise(clip), self.config.fold, 2 ** (self.config.scales - 1))
        maps = self.look(folded.flatten(0, 1))[-1]
        if self.config.head == "pool":
            joined = self.join(pooled(maps).unflatten(0, clip.shape[:2]).mean(dim=1))
        elif self.config.compare == "frames":
            joined = self.join(self.places(maps).unflatten(0, clip.shape[:2]).flatten(1))
        else:  # (B·T, C, H, W) to (B, H·W, T·C)
            side_by_side = maps.unflatten(0, clip.shape[:2]).flatten(1, 2).flatten(2).transpose(1, 2)
            joined = self.join(side_by_side).amax(dim=1)
        return Scores(self.score(joined).float())


class Published(Classifier):
    """Two towers of shared weights; clips of any length, of which the first and the last frame are seen."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.look = Convolutions(task.channels)
        self.score = fully_connected(2 * FEATURES, len(task.classes))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        ends = torch.stack((clip[:, 0], clip[:, -1]), dim=2)
        maps = self.look(standardise(ends))  # (B, 256, 2, 6, 6)
        return Scores(self.score(maps.transpose(1, 2).flatten(1)).float())


def build(config: Config, task: Task) -> Classifier:
    """A `LateFusion`, the paper's or the toy, for a task."""
    if config.variant == "paper":
        return Published(task)
    return Toy("late", task) if config.variant == "toy" else LateFusion(config, task)
