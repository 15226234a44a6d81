"""The lecture's toy networks: one layer of 12 maps, pooling by 4, one of 24, the average of all, and the scores.

They differ only in when time is joined, so that receptive fields can be compared: after all (`late`), before the first
layer (`early`), or a little in every layer (`slow`). Justin Johnson, EECS 498-007 (2019), lecture on videos; clips of
3x20x64x64.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.models.blocks.learned_path import check_length, standardise
from vidpred.models.blocks.scoring import pooled
from vidpred.types import Classifier, Scores, Task


class Toy(Classifier):
    """Frames of any size; clips of any length, but for `early`, which takes those of the task's.

    Args:
        fusion: When time is joined.
        task: Its classes are scored.
    """

    def __init__(self, fusion: Literal["late", "early", "slow"], task: Task) -> None:
        super().__init__()
        self.fusion = fusion
        self.length = task.context
        inputs = task.channels * task.context if fusion == "early" else task.channels
        self.first: nn.Module
        self.second: nn.Module
        self.pool: nn.Module
        if fusion == "slow":
            self.first, self.second = nn.Conv3d(inputs, 12, 3, padding=1), nn.Conv3d(12, 24, 3, padding=1)
            self.pool = nn.MaxPool3d(4, ceil_mode=True)
        else:
            self.first, self.second = nn.Conv2d(inputs, 12, 3, padding=1), nn.Conv2d(12, 24, 3, padding=1)
            self.pool = nn.MaxPool2d(4, ceil_mode=True)
        self.scores = nn.Linear(24, len(task.classes))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`.

        Raises:
            UserError: another T than `early` was built for.
        """
        if self.fusion == "early":
            check_length("early_fusion", clip, self.length)
        x = standardise(clip)
        batch = x.shape[0]  # len() would be a number that torch.export takes for fixed
        x = {"late": x.flatten(0, 1), "early": x.flatten(1, 2), "slow": x.transpose(1, 2)}[self.fusion]
        maps = F.relu(self.second(self.pool(F.relu(self.first(x)))))
        features = pooled(maps)
        if self.fusion == "late":
            features = features.unflatten(0, (batch, -1)).mean(dim=1)
        return Scores(self.scores(features).float())
