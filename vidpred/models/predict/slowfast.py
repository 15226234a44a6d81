"""SlowFast (Feichtenhofer et al. 2019, arXiv 1812.03982): few frames in detail, and all frames in brief.

The slow pathway sees every n-th frame with many channels, the fast one all frames with 1/8 as many. At every scale what
the fast one found is handed to the slow one (a time-strided 5x1x1 convolution to twice its channels, concatenated). As
in the paper, the fast pathway convolves over time everywhere, the slow one only at its last scale. The decoder takes
the newest moment of both and adds to the last frame. The paper's networks classify, so there is no `seed`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import add_residual, fold_pixels, standardise, unfold_pixels, zero_head
from vidpred.models.blocks.scales import Up, conv, halve, widths
from vidpred.models.blocks.slow_fusion import Conv3x3x3
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
        slow, fast = (widths(width, config.scales) for width in (config.width, config.width // config.share))
        lateral = [2 * channels for channels in fast]
        joined = [a + b for a, b in zip(slow, lateral, strict=True)]
        *alone, last = zip([inputs, *joined[:-1]], slow, strict=True)
        self.slow = nn.ModuleList([*(conv(*pair) for pair in alone), Conv3x3x3(*last)])
        self.fast = nn.ModuleList(Conv3x3x3(a, b) for a, b in zip([inputs, *fast[:-1]], fast, strict=True))
        self.lateral = nn.ModuleList(nn.Conv2d(config.fusion * a, b, 1) for a, b in zip(fast, lateral, strict=True))
        self.decode = Up([a + b for a, b in zip(joined, fast, strict=True)], slow)
        self.head = zero_head(config.width, outputs)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        fast = fold_pixels(standardise(context), self.config.fold, 2 ** (self.config.scales - 1))
        kept = list(range(context.shape[1] - 1, -1, -self.config.every))[::-1]
        slow = fast[:, kept]
        newest = []
        for scale, lateral in enumerate(self.lateral):
            if scale:
                slow, fast = halve(slow), halve(fast)
            slow = self._slow(scale, slow)
            fast = F.silu(_by_moment(self.fast[scale], fast))
            slow = torch.cat((slow, self._handed_over(lateral, fast, kept)), dim=2)
            newest.append(torch.cat((slow[:, -1], fast[:, -1]), dim=1))
        residual = unfold_pixels(self.head(self.decode(newest)), self.config.fold, *context.shape[-2:])
        return Output(add_residual(context, residual, self.steps, between=self.between))

    def _slow(self, scale: int, slow: Tensor) -> Tensor:
        """(B, T', C, H, W) to the channels of this scale: moments alone, at the last scale with their neighbours."""
        if scale == self.config.scales - 1:
            return F.silu(_by_moment(self.slow[scale], slow))
        frames = slow.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        found: Tensor = self.slow[scale](frames).unflatten(0, slow.shape[:2])
        return found

    def _handed_over(self, lateral: nn.Module, fast: Tensor, kept: list[int]) -> Tensor:
        """(B, T, C, H, W) to (B, T', 2·C, H, W): the fast moments around each slow one, zeros beyond the ends."""
        beyond = self.config.fusion // 2
        padded = F.pad(fast, (0, 0, 0, 0, 0, 0, beyond, beyond))
        around = torch.stack([padded[:, t : t + self.config.fusion].flatten(1, 2) for t in kept], dim=1)
        handed: Tensor = lateral(around.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        over: Tensor = F.silu(handed).unflatten(0, around.shape[:2])
        return over


def _by_moment(convolve: nn.Module, x: Tensor) -> Tensor:
    return torch.stack(convolve(list(x.unbind(1))), dim=1)


def build(config: Config, task: Task) -> Slowfast:
    """A `Slowfast` for a task."""
    return Slowfast(config, task)
