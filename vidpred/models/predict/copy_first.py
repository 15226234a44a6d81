"""The first context frame, for every step: with `copy_last` and `average` the bar of an interpolator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


class CopyFirst(Predictor):
    """(B, T, C, H, W) in, its first frame `steps` times out; no parameters."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        return Output(context[:, :1].expand(-1, self.steps, -1, -1, -1))


def build(config: Config, task: Task) -> CopyFirst:  # noqa: ARG001 - nothing to choose
    """A `CopyFirst` that gives the whole horizon."""
    return CopyFirst(task)
