"""SlowFast (Feichtenhofer et al. 2019, arXiv 1812.03982): few frames in detail, and all frames in brief.

The slow pathway sees every n-th frame with many channels, the fast one all frames with 1/8 as many. At every scale what
the fast one found is handed to the slow one (a time-strided 5x1x1 convolution to twice its channels, concatenated). As
in the paper, the fast pathway convolves over time everywhere, the slow one only at its last scale. The decoder takes
the newest moment of both and adds to the last frame. The paper's networks classify, so there is no `seed`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import add_residual, fold_pixels, standardise, unfold_pixels, zero_head
from vidpred.models.blocks.pathways import make_pathways, run_pathways, slow_widths
from vidpred.models.blocks.scales import Up, widths
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    width: int = 32
    """Channels of the slow pathway at the finest scale; the next ones have twice, three times … as many."""
    share: int = 8
    """The fast pathway has one channel for so many of the slow one."""
    every: int = 4
    """The slow pathway sees every so manyth frame, counted back from the newest."""
    scales: int = 3
    """Resolutions: that of folded pixels, half of it …"""
    fusion: int = 5
    """Moments of the fast pathway, around each slow one, that a lateral connection sees; odd."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range, `fusion` is even, or `width` no multiple of `share`.
        """
        for field in ("width", "share", "every", "fusion", "fold"):
            between("slowfast", field, getattr(self, field), 1)
        between("slowfast", "scales", self.scales, 1, 6)
        if self.fusion % 2 == 0:
            raise UserError(f"slowfast: fusion is {self.fusion}: give an odd number")
        if self.width % self.share:
            raise UserError(f"slowfast: width is {self.width}: give a multiple of share, {self.share}")


SEARCH = {
    "config": {"width": [16, 32, 64], "share": [4, 8], "every": [2, 4], "fusion": [3, 5, 7]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class Slowfast(Predictor):
    """(B, T, C, H, W) with any T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.config = config
        inputs, outputs = (frames * task.channels * config.fold**2 for frames in (1, task.horizon))
        self.slow, self.fast, self.lateral = make_pathways(
            inputs, config.width, config.share, config.scales, config.fusion
        )
        slow, fast = (widths(width, config.scales) for width in (config.width, config.width // config.share))
        joined = slow_widths(config.width, config.share, config.scales)
        self.decode = Up([a + b for a, b in zip(joined, fast, strict=True)], slow)
        self.head = zero_head(config.width, outputs)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        folded = fold_pixels(standardise(context), self.config.fold, 2 ** (self.config.scales - 1))
        layers = (self.slow, self.fast, self.lateral)
        found = run_pathways(layers, folded, every=self.config.every, fusion=self.config.fusion)
        newest = [torch.cat((slow[:, -1], fast[:, -1]), dim=1) for slow, fast in found]
        residual = unfold_pixels(self.head(self.decode(newest)), self.config.fold, *context.shape[-2:])
        return Output(add_residual(context, residual, self.steps, between=self.between))


def build(config: Config, task: Task) -> Slowfast:
    """A `Slowfast` for a task."""
    return Slowfast(config, task)
