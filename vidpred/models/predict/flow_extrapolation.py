"""Motion goes on: the last frame, carried one step further along the optical flow that led to it.

Backward warping takes the flow at the place where a pixel arrives instead of where it left, which is right where motion
is smooth and smears where it is not. Further frames by feeding that back. Between two frames the mean of both is
taken, each carried half the way along the flow that leads from one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vidpred.models.blocks.candidates import midway_candidates
from vidpred.models.blocks.warp import warp
from vidpred.models.checks import sees_motion
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


class FlowExtrapolation(Predictor):
    """Context (B, T, C, H, W) and its flow in, one frame out; no parameters."""

    needs_flow = True

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`.

        Raises:
            UserError: the context has a single frame.
            ValueError: there is no flow.
        """
        sees_motion("flow_extrapolation", context.shape[1])
        if flow is None:
            raise ValueError("flow_extrapolation needs optical flow: pass flow=")
        if self.between:
            return Output(midway_candidates(context, flow[:, -1], (1.0,))[0])
        return Output(warp(context[:, -1], flow[:, -1])[:, None])


def build(config: Config, task: Task) -> FlowExtrapolation:  # noqa: ARG001 - nothing to choose
    """A `FlowExtrapolation`.

    Raises:
        UserError: the context has a single frame.
    """
    sees_motion("flow_extrapolation", task.context)
    return FlowExtrapolation()
