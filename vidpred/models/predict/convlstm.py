"""ConvLSTM (Shi et al. 2015, arXiv 1506.04214): one frame after the other; the last state adds to the last frame.

`seed` is the tutorial's: 6 filters, one layer, at full resolution, 2,133 parameters. `default` folds squares of pixels
into channels, which is faster and sees farther, and starts as exactly the last frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import add_noise, add_residual, standardise, zero_head
from vidpred.models.blocks.recurrent import ConvLSTM
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed"] = "default"
    """`default`, or the tutorial's network, of which only `noise` may vary."""
    filters: int = 16
    """Channels of the state."""
    layers: int = 1
    """ConvLSTMs, each fed by the states of the one below."""
    kernel: int = 3
    """Side of the kernels, in (folded) pixels; odd."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on the learned path while training, in units of full scale."""

    def __post_init__(self) -> None:
        between("convlstm", "filters", self.filters, 1)
        between("convlstm", "layers", self.layers, 1)
        between("convlstm", "kernel", self.kernel, 1)
        between("convlstm", "fold", self.fold, 1)
        between("convlstm", "noise", self.noise, 0)
        if self.kernel % 2 == 0:
            raise UserError(f"convlstm: kernel is {self.kernel}: give an odd number")
        changed = [f for f in ("filters", "layers", "kernel", "fold") if getattr(self, f) != getattr(Config, f)]
        if self.variant != "default" and changed:
            raise UserError(f"convlstm: {', '.join(changed)} of variant {self.variant} is its source's: leave it out")


class Convlstm(Predictor):
    """(B, T, C, H, W) with any T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.noise = config.noise
        seed = config.variant == "seed"
        filters, layers, kernel = (6, 1, 3) if seed else (config.filters, config.layers, config.kernel)
        self.fold = 1 if seed else config.fold
        self.standardise = not seed
        inputs, outputs = (frames * task.channels * self.fold**2 for frames in (1, task.horizon))
        self.cells = nn.ModuleList(ConvLSTM(filters if layer else inputs, filters, kernel) for layer in range(layers))
        self.head = nn.Conv2d(filters, outputs, 3, padding=1) if seed else zero_head(filters, outputs)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        batch, length, _, height, width = context.shape
        seen = add_noise(context, self.noise, training=self.training).flatten(0, 1)
        if self.standardise:
            seen = standardise(seen)
        below, right = -height % self.fold, -width % self.fold
        if below or right:
            seen = F.pad(seen, (0, right, 0, below), mode="replicate")
        folded = F.pixel_unshuffle(seen, self.fold)
        states = list(folded.reshape(batch, length, *folded.shape[1:]).unbind(1))
        for cell in self.cells:
            states = cell(states)
        residual = F.pixel_shuffle(self.head(states[-1]), self.fold)
        return Output(add_residual(context, residual[..., :height, :width], self.steps))


def build(config: Config, task: Task) -> Convlstm:
    """A `Convlstm` for a task."""
    return Convlstm(config, task)
