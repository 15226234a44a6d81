"""ConvLSTM (Shi et al. 2015, arXiv 1506.04214): one frame after the other; the last state adds to the last frame.

`seed` is the tutorial's: 6 filters, one layer, at full resolution, 2,133 parameters. `default` folds squares of pixels
into channels, which is faster and sees farther, and starts as exactly the last frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import (
    Noise,
    add_residual,
    check_noise,
    fold_pixels,
    standardise,
    unfold_pixels,
    zero_head,
)
from vidpred.models.blocks.recurrent import ConvLSTM
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed"] = "default"
    """`default`, or the tutorial's network, of which only the noise may vary."""
    filters: int = 16
    """Channels of the state."""
    layers: int = 1
    """ConvLSTMs, each fed by the states of the one below."""
    kernel: int = 3
    """Side of the kernels, in (folded) pixels; odd."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""
    noise: float = 0.0
    """Noise while training. `gaussian`: its standard deviation, in units of full scale; `drop_pixels`: the share of
    pixels that turn black."""
    noise_kind: Literal["gaussian", "drop_pixels"] = "gaussian"
    """What the noise is."""
    noise_on: Literal["learned_path", "all"] = "learned_path"
    """Whether the last frame, which the result is added to, stays clean."""

    def __post_init__(self) -> None:
        between("convlstm", "filters", self.filters, 1)
        between("convlstm", "layers", self.layers, 1)
        between("convlstm", "kernel", self.kernel, 1)
        between("convlstm", "fold", self.fold, 1)
        check_noise("convlstm", self.noise, self.noise_kind)
        if self.kernel % 2 == 0:
            raise UserError(f"convlstm: kernel is {self.kernel}: give an odd number")
        changed = [f for f in ("filters", "layers", "kernel", "fold") if getattr(self, f) != getattr(Config, f)]
        if self.variant != "default" and changed:
            raise UserError(f"convlstm: {', '.join(changed)} of variant {self.variant} is its source's: leave it out")


SEARCH = {
    "config": {"filters": [8, 16, 32], "layers": [1, 2], "kernel": [3, 5], "fold": [1, 2, 4]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class Convlstm(Predictor):
    """(B, T, C, H, W) with any T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.noise = Noise(config.noise, config.noise_kind, config.noise_on)
        seed = config.variant == "seed"
        filters, layers, kernel = (6, 1, 3) if seed else (config.filters, config.layers, config.kernel)
        self.fold = 1 if seed else config.fold
        self.standardise = not seed
        inputs, outputs = (frames * task.channels * self.fold**2 for frames in (1, task.horizon))
        self.cells = nn.ModuleList(ConvLSTM(filters if layer else inputs, filters, kernel) for layer in range(layers))
        self.head = nn.Conv2d(filters, outputs, 3, padding=1) if seed else zero_head(filters, outputs)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        seen, carried = self.noise(context)
        states = _folded(standardise(seen) if self.standardise else seen, self.fold)
        for cell in self.cells:
            states = cell(states)
        residual = unfold_pixels(self.head(states[-1]), self.fold, *context.shape[-2:])
        return Output(add_residual(carried, residual, self.steps, between=self.between))


def _folded(frames: Tensor, fold: int) -> list[Tensor]:
    """The moments of (B, T, C, H, W) as `fold_pixels` gives them, channels-last, as frames come: twice as fast."""
    height, width = frames.shape[-2:]
    if fold == 1 or height % fold or width % fold:
        return list(fold_pixels(frames, fold).unbind(1))
    pixels = frames.transpose(0, 1).flatten(0, 1).movedim(1, -1)
    places = [(c, i, j) for c in range(pixels.shape[-1]) for i in range(fold) for j in range(fold)]
    folded = torch.stack([pixels[:, i::fold, j::fold, c] for c, i, j in places], dim=-1)
    return list(folded.movedim(-1, 1).chunk(frames.shape[1]))


def build(config: Config, task: Task) -> Convlstm:
    """A `Convlstm` for a task."""
    return Convlstm(config, task)
