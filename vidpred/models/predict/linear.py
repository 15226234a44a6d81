"""Every pixel goes on as it changed last: 2·x[t] - x[t-1], clamped; further frames by feeding that back.

Between two frames every pixel is halfway from one to the other: their average.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vidpred.models.checks import sees_motion
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


class Linear(Predictor):
    """(B, T, C, H, W) in, one frame out; no parameters."""

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`.

        Raises:
            UserError: the context has a single frame.
        """
        sees_motion("linear", context.shape[1])
        if self.between:
            return Output(context.float().mean(dim=1, keepdim=True))
        return Output((2 * context[:, -1:] - context[:, -2:-1]).clamp(0, 1))


def build(config: Config, task: Task) -> Linear:  # noqa: ARG001 - nothing to choose
    """A `Linear`.

    Raises:
        UserError: the context has a single frame.
    """
    sees_motion("linear", task.context)
    return Linear()
