"""Late fusion: one 2D network with shared weights looks at every frame alone; what it found is joined only at the end.

After Karpathy et al. 2014, https://research.google/pubs/large-scale-video-classification-with-convolutional-neural-networks/
The features of all frames are decoded to a residual on the last frame. No frame's features know of another's before the
join, so motion has to be read from the features of all: on purpose the opposite of `conv2d`. The lecture it is taken
from gives no sizes, so there is no `seed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vidpred.models.blocks.learned_path import (
    add_residual,
    check_length,
    fold_pixels,
    standardise,
    unfold_pixels,
    zero_head,
)
from vidpred.models.blocks.scales import Down, Up, widths
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    width: int = 16
    """Channels at the finest scale; the next ones have twice, three times … as many."""
    scales: int = 2
    """Resolutions: that of folded pixels, half of it …"""
    depth: int = 2
    """Convolutions at each scale, before the join."""
    join: Literal["concat", "pool"] = "concat"
    """`concat`: the features of all frames side by side, which binds the context length. `pool`: those of the last
    frame beside the mean of those before, for any length, but blind to the order of what came before."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        for field in ("width", "depth", "fold"):
            between("late_fusion", field, getattr(self, field), 1)
        between("late_fusion", "scales", self.scales, 1, 6)


SEARCH = {
    "config": {"width": [8, 16, 32], "scales": [1, 2, 3], "depth": [1, 2], "join": ["concat", "pool"]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class LateFusion(Predictor):
    """(B, T, C, H, W) in, the whole horizon out; frames of any size, and any T where `join` is `pool`."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.config = config
        self.length = task.context if config.join == "concat" else None
        inputs, outputs = (frames * task.channels * config.fold**2 for frames in (1, task.horizon))
        each = widths(config.width, config.scales)
        joined = task.context if config.join == "concat" else 2
        self.look = Down(inputs, each, config.depth)
        self.decode = Up([joined * channels for channels in each], each)
        self.head = zero_head(config.width, outputs)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`.

        Raises:
            UserError: another T than the one it was built for, which `concat` needs.
        """
        if self.length is not None:
            check_length("late_fusion with join: concat", context, self.length)
        folded = fold_pixels(standardise(context), self.config.fold, 2 ** (self.config.scales - 1))
        maps = self.look(folded.flatten(0, 1))
        joined = [self._join(found.unflatten(0, context.shape[:2])) for found in maps]
        residual = unfold_pixels(self.head(self.decode(joined)), self.config.fold, *context.shape[-2:])
        return Output(add_residual(context, residual, self.steps, between=self.between))

    def _join(self, maps: Tensor) -> Tensor:
        """(B, T, C, H, W) to (B, T·C, H, W), or to (B, 2·C, H, W)."""
        if self.config.join == "concat":
            return maps.flatten(1, 2)
        before = maps[:, :-1] if maps.shape[1] > 1 else maps  # a single frame is all there was
        return torch.cat((before.mean(dim=1), maps[:, -1]), dim=1)


def build(config: Config, task: Task) -> LateFusion:
    """A `LateFusion` for a task."""
    return LateFusion(config, task)
