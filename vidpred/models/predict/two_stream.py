"""Two streams (Simonyan and Zisserman 2014, arXiv 1406.2199): what the last frame shows, and how the frames moved.

The appearance stream sees the last frame, the motion stream the optical flow between all frames, stacked as 2·(T-1)
channels. Fused, they say where each pixel of the next frames comes from, and what to add to it:

    next = x_T + warp(x_T, f) - warp(x_T, 0) + r,    f = bounded(free displacement + share · last flow)

which is exactly the last frame at the start. The paper's network classifies, so there is no `seed`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidpred.models.blocks.learned_path import check_length, fold_pixels, standardise, unfold_pixels, zero_head
from vidpred.models.blocks.scales import Down, Up, widths
from vidpred.models.blocks.warp import warp
from vidpred.models.checks import between, sees_motion
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    width: int = 16
    """Channels of each stream at the finest scale; the next ones have twice, three times … as many."""
    scales: int = 3
    """Resolutions: that of folded pixels, half of it …"""
    depth: int = 2
    """Convolutions of each stream at each scale."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""
    max_flow: float = 12.0
    """Bound of the displacement along x and y, in pixels."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        for field in ("width", "depth", "fold"):
            between("two_stream", field, getattr(self, field), 1)
        between("two_stream", "scales", self.scales, 1, 6)
        between("two_stream", "max_flow", self.max_flow, 0.5)


SEARCH = {
    "config": {"width": [8, 16, 32], "scales": [2, 3, 4], "depth": [1, 2], "max_flow": [6.0, 12.0, 24.0]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class TwoStream(Predictor):
    """(B, T, C, H, W) with the task's T and its flow in, the whole horizon out; frames of any size."""

    needs_flow = True

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.config = config
        self.length = task.context
        each = widths(config.width, config.scales)
        shown = 2 if task.between else 1
        self.appearance = Down(shown * task.channels * config.fold**2, each, config.depth)
        self.motion = Down(2 * (task.context - 1) * config.fold**2, each, config.depth)
        self.decode = Up([2 * channels for channels in each], each)
        # a displacement (x, y), a share of the last flow, and a residual for every frame
        self.head = zero_head(config.width, task.horizon * (3 + task.channels) * config.fold**2)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`; displacements and warps in float32, also under autocast.

        Raises:
            UserError: another T than the one it was built for.
            ValueError: there is no flow.
        """
        if flow is None:
            raise ValueError("two_stream needs optical flow: pass flow=")
        check_length("two_stream", context, self.length)
        fold, multiple = self.config.fold, 2 ** (self.config.scales - 1)
        shown = fold_pixels(standardise(context if self.between else context[:, -1:]), fold, multiple)
        moved = fold_pixels(flow / 4, fold, multiple)  # about unit variance where things move
        streams = zip(self.appearance(shown.flatten(1, 2)), self.motion(moved.flatten(1, 2)), strict=True)
        features = self.decode([torch.cat(both, dim=1) for both in streams])
        said = unfold_pixels(self.head(features), fold, *context.shape[-2:])
        with torch.autocast(context.device.type, enabled=False):
            return Output(self._move(context.float(), flow[:, -1].float(), said.float()))

    def _move(self, context: Tensor, last_flow: Tensor, said: Tensor) -> Tensor:
        """(B, T, C, H, W), (B, 2, H, W) and what the head said to (B, steps, C, H, W)."""
        bound = self.config.max_flow
        parts = said.unflatten(1, (self.steps, -1))
        free, share, residual = parts[:, :, :2], parts[:, :, 2:3], parts[:, :, 3:]
        places = bound * torch.tanh((4 * free + share * last_flow[:, None]) / bound)
        if self.between:  # the mean of both frames, displaced towards each other
            first, last = (warp(context[:, i], sign * places[:, 0]) for i, sign in ((0, 1), (1, -1)))
            both: Tensor = ((first + last) / 2)[:, None] + residual
            return both
        last = context[:, -1]
        still = warp(last, torch.zeros_like(last_flow))
        moved = [warp(last, place) - still for place in places.unbind(1)]
        frames: Tensor = last[:, None] + torch.stack(moved, dim=1) + residual
        return frames


def build(config: Config, task: Task) -> TwoStream:
    """A `TwoStream` for a task.

    Raises:
        UserError: the context has a single frame.
    """
    sees_motion("two_stream", task.context)
    return TwoStream(config, task)
