"""Early fusion: the frames, stacked on the channel axis, go through a 2D network; time is gone after its first layer.

After Karpathy et al. 2014, https://research.google/pubs/large-scale-video-classification-with-convolutional-neural-networks/
The first layer has weights of its own for every moment: what it learned of one it does not know of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from vidpred.models.blocks.flat_network import FlatNetwork, FlatSizes
from vidpred.models.blocks.karpathy2014 import FEATURES, Convolutions, fully_connected
from vidpred.models.blocks.learned_path import check_length, standardise
from vidpred.models.blocks.scoring import only_default
from vidpred.models.blocks.toys import Toy
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config(FlatSizes):
    """What a sweep may vary."""

    width: int = 32
    """Channels at the finest scale; the next ones have twice, three times … as many."""
    variant: Literal["default", "paper", "toy"] = "default"
    """`default`, the paper's network for frames of 170x170, or the lecture's toy."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        self.check("early_fusion")
        only_default("early_fusion", self)


SEARCH = {
    "config": {"width": [16, 32, 64], "scales": [2, 3, 4], "depth": [1, 2], "dropout": [0.0, 0.2, 0.5]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (10, 170, 487), "toy": (20, 64, 2)}
"""Of the variants: frames, rows and columns, classes."""


class EarlyFusion(Classifier):
    """Clips of the task's length, frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.length = task.context
        self.net = FlatNetwork(config, task.context * task.channels, len(task.classes))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`.

        Raises:
            UserError: another T than the one it was built for.
        """
        check_length("early_fusion", clip, self.length)
        return Scores(self.net(standardise(clip).flatten(1, 2)).float())


class Published(Classifier):
    """Clips of the task's length, frames that leave something after three poolings."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.length = task.context
        self.look = Convolutions(task.context * task.channels)
        self.score = fully_connected(FEATURES, len(task.classes))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`.

        Raises:
            UserError: another T than the one it was built for.
        """
        check_length("early_fusion", clip, self.length)
        maps = self.look(standardise(clip).flatten(1, 2).unsqueeze(2))  # one moment of many channels
        return Scores(self.score(maps.flatten(1)).float())


def build(config: Config, task: Task) -> Classifier:
    """An `EarlyFusion`, the paper's or the toy, for a task."""
    if config.variant == "paper":
        return Published(task)
    return Toy("early", task) if config.variant == "toy" else EarlyFusion(config, task)
