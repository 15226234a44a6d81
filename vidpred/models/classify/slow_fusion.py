"""Slow fusion: a 3D network draws time together a little in every layer.

After Karpathy et al. 2014, https://research.google/pubs/large-scale-video-classification-with-convolutional-neural-networks/
Its kernels slide over time as they do over space: what they learned of one moment they know of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models.blocks.karpathy2014 import FEATURES, Convolutions, fully_connected
from vidpred.models.blocks.learned_path import fold_pixels, standardise
from vidpred.models.blocks.nonlocal_after import NonLocalAfter
from vidpred.models.blocks.scoring import he, mlp, only_default, pooled
from vidpred.models.blocks.slow_fusion import SlowFusion as Layers
from vidpred.models.blocks.toys import Toy
from vidpred.models.checks import between
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "paper", "toy"] = "default"
    """`default`, the paper's network for ten frames of 170x170, or the lecture's toy."""
    filters: int = 24
    """Channels of the layers."""
    depth: int = 4
    """3x3x3 convolutions; each but the last one halves the sides of the maps."""
    pool: Literal["mean", "max", "none"] = "mean"
    """How neighbouring moments become one."""
    pool_every: int = 2
    """Convolutions between two poolings over time. The more poolings, the more it matters at what moment a thing is."""
    hidden: int = 64
    """Features between the maps' averages and the scores."""
    dropout: float = 0.0
    """Share of those features that is left out while training."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""
    nonlocal_after: tuple[str, ...] = ()
    """Stages that a non-local block follows: stage1, stage2 … are the convolutions."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        for field in ("filters", "depth", "pool_every", "hidden", "fold"):
            between("slow_fusion", field, getattr(self, field), 1)
        between("slow_fusion", "dropout", self.dropout, 0, 0.95)
        only_default("slow_fusion", self)


SEARCH = {
    "config": {"filters": [16, 24, 32], "depth": [3, 4, 5], "pool": ["mean", "max"], "dropout": [0.0, 0.2, 0.5]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (10, 170, 487), "toy": (20, 64, 2)}
"""Of the variants: frames, rows and columns, classes."""


class SlowFusion(Classifier):
    """Clips of any length, frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        inputs = task.channels * config.fold**2
        self.look = _Attending(inputs, config.filters, config.depth, config.pool, config.pool_every, norm=True)
        he(self.look)
        stages = {f"stage{layer + 1}": config.filters for layer in range(config.depth)}
        self.look.attend = NonLocalAfter("slow_fusion", config.nonlocal_after, stages)
        self.score = mlp(config.filters, config.hidden, len(task.classes), config.dropout)

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        maps = self.look(fold_pixels(standardise(clip), self.config.fold))
        return Scores(self.score(pooled(maps)).float())


class _Attending(Layers):
    """The layers, with non-local blocks; each but the last halves the sides."""

    attend: NonLocalAfter

    def after(self, layer: int, moments: list[Tensor]) -> list[Tensor]:
        moments = self.attend.after_moments(f"stage{layer}", moments)
        if layer < len(self.convs):
            moments = [F.max_pool2d(moment, 2, ceil_mode=True) for moment in moments]
        return moments


class Published(Classifier):
    """Clips of ten frames or more, frames that leave something after three poolings."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        if task.context < SPAN:
            raise UserError(f"slow_fusion: variant paper spans {SPAN} frames, and the context has {task.context}")
        self.look = Convolutions(task.channels, (4, 2, 2), (2, 2, 1))
        self.score = fully_connected(FEATURES, len(task.classes))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`.

        Raises:
            UserError: the clip is too short.
        """
        if clip.shape[1] < SPAN:
            raise UserError(f"slow_fusion: variant paper needs {SPAN} frames and got {clip.shape[1]}: give more")
        maps = self.look(standardise(clip).transpose(1, 2))
        return Scores(self.score(maps.mean(dim=2).flatten(1)).float())


SPAN = 10
"""Frames that the last of the paper's kernels sees: four, then two by two, then two."""


def build(config: Config, task: Task) -> Classifier:
    """A `SlowFusion`, the paper's or the toy, for a task.

    Raises:
        UserError: unknown stages, or a context too short for the paper's.
    """
    if config.variant == "paper":
        return Published(task)
    return Toy("slow", task) if config.variant == "toy" else SlowFusion(config, task)
