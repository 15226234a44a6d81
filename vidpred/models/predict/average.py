"""The mean of the context frames, for every step: with `copy_first` and `copy_last` the bar of an interpolator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


class Average(Predictor):
    """(B, T, C, H, W) in, the mean of its frames `steps` times out; no parameters."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        return Output(context.float().mean(dim=1, keepdim=True).expand(-1, self.steps, -1, -1, -1))


def build(config: Config, task: Task) -> Average:  # noqa: ARG001 - nothing to choose
    """An `Average` that gives the whole horizon."""
    return Average(task)
