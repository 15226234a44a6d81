"""What a trained model is held against while it trains: the baselines of its task on the same windows.

In: a batch. Out: frames, by the names of the zoo's models that give the same.
"""

from __future__ import annotations

from torch import Tensor

from vidpred.training.figures import BASELINES
from vidpred.types import Batch


def baseline_frames(batch: Batch, kind: str) -> dict[str, Tensor]:
    """What each of `BASELINES[kind]` predicts: (B, horizon, C, H, W), as the batch's target."""
    context = batch.context
    given = {"copy_first": context[:, :1], "copy_last": context[:, -1:], "average": context.mean(dim=1, keepdim=True)}
    return {name: given[name].expand_as(batch.target) for name in BASELINES[kind]}
