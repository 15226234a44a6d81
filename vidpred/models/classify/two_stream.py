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
from vidpred.models.blocks.flat_network import FlatNetwork, FlatSizes
from vidpred.models.blocks.learned_path import check_length, standardise
from vidpred.models.blocks.scoring import agreed, only_default
from vidpred.models.checks import sees_motion
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config(FlatSizes):
    """What a sweep may vary; sizes are those of each stream."""

    dropout: float = 0.2
    """Share of the features that is left out while training."""
    variant: Literal["default", "paper"] = "default"
    """`default`, or the paper's streams for frames of 224x224 and ten flows."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        self.check("two_stream")
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
        self.length = task.context
        flows = 2 * (task.context - 1)
        self.appearance: nn.Module
        self.motion: nn.Module
        if config.variant == "paper":
            self.appearance = CnnM(task.channels, len(task.classes), dropout=0.9, norms=2)
            self.motion = CnnM(flows, len(task.classes), dropout=0.9, norms=1)
        else:
            self.appearance, self.motion = (FlatNetwork(config, n, len(task.classes)) for n in (task.channels, flows))

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


def build(config: Config, task: Task) -> TwoStream:
    """A `TwoStream` for a task.

    Raises:
        UserError: the context has a single frame.
    """
    sees_motion("two_stream", task.context)
    return TwoStream(config, task)
