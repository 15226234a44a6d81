"""SlowFast (Feichtenhofer et al. 2019, arXiv 1812.03982): few frames in detail, and all frames in brief.

The slow pathway sees every n-th frame with many channels, the fast one all frames with a share of them; what the fast
one found is handed to the slow one at every scale. The averages of both are scored. `paper` is SlowFast-R50 8x8 (eight
slow frames of 32) with lateral kernels of 7 moments, `paper_4x16` has four of 32 and kernels of 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import fold_pixels, standardise
from vidpred.models.blocks.nonlocal_after import NonLocalAfter
from vidpred.models.blocks.pathways import make_pathways, run_pathways, slow_widths
from vidpred.models.blocks.scales import widths
from vidpred.models.blocks.scoring import he, mlp, only_default, pooled
from vidpred.models.blocks.slowfast_resnet import SlowFastResNet
from vidpred.models.checks import between
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "paper", "paper_4x16"] = "default"
    """`default`, or one of the paper's networks."""
    width: int = 32
    """Channels of the slow pathway at the finest scale; the next ones have twice, three times … as many."""
    share: int = 4
    """The fast pathway has one channel for so many of the slow one."""
    every: int = 4
    """The slow pathway sees every so manyth frame, counted back from the newest."""
    scales: int = 3
    """Resolutions: that of folded pixels, half of it …"""
    fusion: int = 5
    """Moments of the fast pathway, around each slow one, that a lateral connection sees; odd."""
    hidden: int = 64
    """Features between the maps' averages and the scores."""
    dropout: float = 0.0
    """Share of those features that is left out while training."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""
    nonlocal_after: tuple[str, ...] = ()
    """Stages of the slow pathway that a non-local block follows: stage1, stage2 … for the scales; layer1 to layer4 in
    the paper's."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range, `fusion` is even, or `width` no multiple of `share`.
        """
        for field in ("width", "share", "every", "fusion", "hidden", "fold"):
            between("slowfast", field, getattr(self, field), 1)
        between("slowfast", "scales", self.scales, 1, 6)
        between("slowfast", "dropout", self.dropout, 0, 0.95)
        if self.fusion % 2 == 0:
            raise UserError(f"slowfast: fusion is {self.fusion}: give an odd number")
        if self.width % self.share:
            raise UserError(f"slowfast: width is {self.width}: give a multiple of share, {self.share}")
        only_default("slowfast", self, free=("nonlocal_after",))


SEARCH = {
    "config": {"width": [16, 32, 64], "share": [4, 8], "every": [2, 4], "fusion": [3, 5, 7]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (32, 224, 400), "paper_4x16": (32, 224, 400)}
"""Of the variants: frames, rows and columns, classes."""


class Slowfast(Classifier):
    """Clips of any length, frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        inputs = task.channels * config.fold**2
        self.slow, self.fast, self.lateral = make_pathways(
            inputs, config.width, config.share, config.scales, config.fusion, norm=True
        )
        for layers in (self.slow, self.fast, self.lateral):
            he(layers)
        joined = slow_widths(config.width, config.share, config.scales)
        stages = {f"stage{scale}": channels for scale, channels in enumerate(joined, start=1)}
        self.attend = NonLocalAfter("slowfast", config.nonlocal_after, stages)
        found = joined[-1] + widths(config.width // config.share, config.scales)[-1]
        self.score = mlp(found, config.hidden, len(task.classes), config.dropout)

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        folded = fold_pixels(standardise(clip), self.config.fold, 2 ** (self.config.scales - 1))
        layers = (self.slow, self.fast, self.lateral)
        every, fusion = self.config.every, self.config.fusion
        # by the maximum: a small thing that moves would be lost in the mean of much that stands still
        slow, fast = run_pathways(layers, folded, every=every, fusion=fusion, pool="max", after=self._after)[-1]
        features = torch.cat([pooled(maps.transpose(1, 2)) for maps in (slow, fast)], dim=1)
        return Scores(self.score(features).float())

    def _after(self, scale: int, slow: Tensor) -> Tensor:
        return self.attend.after(f"stage{scale + 1}", slow.transpose(1, 2)).transpose(1, 2)


class Published(Classifier):
    """Clips of any length, frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        every, fusion = (4, 7) if config.variant == "paper" else (8, 5)
        self.net = SlowFastResNet(
            task.channels, len(task.classes), every=every, fusion=fusion, nonlocal_after=config.nonlocal_after
        )

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        return Scores(self.net(4 * (clip.transpose(1, 2) - 0.45)).float())  # about its published mean and deviation


def build(config: Config, task: Task) -> Classifier:
    """A `Slowfast`, or one of the paper's, for a task.

    Raises:
        UserError: unknown stages.
    """
    return Slowfast(config, task) if config.variant == "default" else Published(config, task)
