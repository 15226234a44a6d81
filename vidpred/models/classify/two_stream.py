"""Two streams (Simonyan and Zisserman 2014, arXiv 1406.2199): what a frame shows, and how the frames moved.

The appearance stream sees the middle frame, the motion stream the optical flow between all frames, stacked as 2·(T-1)
channels. Their scores are averaged; while training, each stream's own are trained as well, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vidpred.models.blocks.cnn_m import CnnM
from vidpred.models.blocks.learned_path import check_length, fold_pixels, standardise
from vidpred.models.blocks.scales import Down, widths
from vidpred.models.blocks.scoring import agreed, he, mlp, only_default, pooled
from vidpred.models.checks import between, sees_motion
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "paper"] = "default"
    """`default`, or the paper's streams for frames of 224x224 and ten flows."""
    width: int = 16
    """Channels of each stream at the finest scale; the next ones have twice, three times … as many."""
    scales: int = 3
    """Resolutions: that of folded pixels, half of it …"""
    depth: int = 1
    """Convolutions of each stream at each scale."""
    hidden: int = 64
    """Features between the maps' averages and the scores."""
    dropout: float = 0.2
    """Share of those features that is left out while training."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        for field in ("width", "depth", "hidden", "fold"):
            between("two_stream", field, getattr(self, field), 1)
        between("two_stream", "scales", self.scales, 1, 6)
        between("two_stream", "dropout", self.dropout, 0, 0.95)
        only_default("two_stream", self)


SEARCH = {
    "config": {"width": [8, 16, 32], "scales": [2, 3, 4], "depth": [1, 2], "dropout": [0.0, 0.2, 0.5]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (11, 224, 101)}
"""Of the variants: frames, rows and columns, classes."""


class TwoStream(Classifier):
    """Clips of the task's length, frames of any size."""

    needs_flow = True

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.length = task.context
        flows = 2 * (task.context - 1)
        self.appearance: nn.Module
        self.motion: nn.Module
        if config.variant == "paper":
            self.appearance = CnnM(task.channels, len(task.classes), dropout=0.9, norms=2)
            self.motion = CnnM(flows, len(task.classes), dropout=0.9, norms=1)
        else:
            self.appearance, self.motion = (_Stream(config, n, len(task.classes)) for n in (task.channels, flows))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`.

        Raises:
            UserError: another T than the one it was built for.
            ValueError: there is no flow.
        """
        if flow is None:
            raise ValueError("two_stream needs optical flow: pass flow=")
        check_length("two_stream", clip, self.length)
        shown, moved = standardise(clip[:, self.length // 2]), flow.flatten(1, 2) / 4  # about unit variance
        logits = torch.stack((self.appearance(shown), self.motion(moved)), dim=1)
        return agreed(logits, training=self.training)


class _Stream(nn.Module):
    """(B, channels, H, W) to logits."""

    def __init__(self, config: Config, channels: int, classes: int) -> None:
        super().__init__()
        self.fold, self.multiple = config.fold, 2 ** (config.scales - 1)
        each = widths(config.width, config.scales)
        self.look = Down(channels * config.fold**2, each, config.depth, norm=True)
        he(self.look)
        self.score = mlp(each[-1], config.hidden, classes, config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        folded = fold_pixels(x.unsqueeze(1), self.fold, self.multiple).squeeze(1)
        logits: Tensor = self.score(pooled(self.look(folded)[-1]))
        return logits


def build(config: Config, task: Task) -> TwoStream:
    """A `TwoStream` for a task.

    Raises:
        UserError: the context has a single frame.
    """
    sees_motion("two_stream", task.context)
    return TwoStream(config, task)
