"""A 3D network with non-local blocks (Wang et al. 2018, arXiv 1711.07971), decoded to a residual on the last frame.

3x3x3 convolutions at coarser and coarser scales see a little of space and time; at the coarsest, where T·H·W is small
enough, space-time attention lets every place look at all others. Its blocks start as the identity. The decoder takes
the newest moment of each scale. The paper's networks classify, so there is no `seed`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.models.blocks.attention import NonLocal
from vidpred.models.blocks.learned_path import add_residual, fold_pixels, standardise, unfold_pixels, zero_head
from vidpred.models.blocks.scales import Up, halve, widths
from vidpred.models.blocks.slow_fusion import Conv3x3x3
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    width: int = 16
    """Channels at the finest scale; the next ones have twice, three times … as many."""
    scales: int = 3
    """Resolutions: that of folded pixels, half of it …; attention works at the last, on T·H·W places."""
    blocks: int = 1
    """Non-local blocks, one after the other; 0 leaves a plain 3D network."""
    inner: float = 0.5
    """Channels of query, key and value, as a share of those of the maps."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        for field in ("width", "fold"):
            between("nonlocal_net", field, getattr(self, field), 1)
        between("nonlocal_net", "scales", self.scales, 1, 6)
        between("nonlocal_net", "blocks", self.blocks, 0)
        between("nonlocal_net", "inner", self.inner, 0.01, 4)


SEARCH = {
    "config": {"width": [8, 16, 32], "scales": [2, 3], "blocks": [0, 1, 2], "inner": [0.25, 0.5]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class NonlocalNet(Predictor):
    """(B, T, C, H, W) with any T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.config = config
        inputs, outputs = (frames * task.channels * config.fold**2 for frames in (1, task.horizon))
        each = widths(config.width, config.scales)
        self.convs = nn.ModuleList(Conv3x3x3(*pair) for pair in itertools.pairwise([inputs, *each]))
        inner = max(1, round(config.inner * each[-1]))
        self.attend = nn.Sequential(*(NonLocal(each[-1], inner) for _ in range(config.blocks)))
        self.decode = Up(each, each)
        self.head = zero_head(config.width, outputs)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        x = fold_pixels(standardise(context), self.config.fold, 2 ** (self.config.scales - 1))
        newest = []
        for scale, conv in enumerate(self.convs):
            x = F.silu(torch.stack(conv(list((halve(x) if scale else x).unbind(1))), dim=1))
            newest.append(x[:, -1])
        newest[-1] = self.attend(x)[:, -1]
        residual = unfold_pixels(self.head(self.decode(newest)), self.config.fold, *context.shape[-2:])
        return Output(add_residual(context, residual, self.steps, between=self.between))


def build(config: Config, task: Task) -> NonlocalNet:
    """A `NonlocalNet` for a task."""
    return NonlocalNet(config, task)
