"""A U of ConvLSTMs (Shi et al. 2015, arXiv 1506.04214): down twice, up twice, a skip; the last frame joins in the end.

Each scale sees every frame in turn, so that slow and wide motion is remembered where it is small. `seed` is the
tutorial's, with c = 4 (45,688 parameters): noise 0.1 on all that it sees, ConvLSTMs of c, 2c, 4c, 4c, 2c and c filters,
batch norm, dropout 0.2, and one 1x1 convolution from the last state and the last frame to colours. Its gates are
sigmoids here; Keras has straight lines for them. `default` folds squares of pixels into channels, has a skip at the
finest scale too, adds its result to the last frame and starts as exactly that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import (
    Noise,
    add_residual,
    check_noise,
    fold_pixels,
    standardise,
    start_frame,
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
    filters: int = 8
    """Channels of the state at the finest scale, c; twice as many at each coarser one."""
    depth: int = 2
    """How often the scale is halved, after the fold."""
    kernel: int = 3
    """Side of the kernels, in (folded) pixels; odd."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""
    fine_skip: bool = True
    """Whether the states of the finest scale are also seen by the last ConvLSTM; the tutorial's network has only the
    skips of coarser scales, and learns fine motion slowly."""
    norm: Literal["batch", "none"] = "batch"
    """What follows the ConvLSTMs."""
    dropout: float = 0.0
    """Share of the values dropped after a skip, while training."""
    noise: float | None = None
    """Noise while training. `gaussian`: its standard deviation, in units of full scale; `drop_pixels`: the share of
    pixels that turn black. None: 0.1 for `seed`, as in the tutorial, and 0 otherwise."""
    noise_kind: Literal["gaussian", "drop_pixels"] = "gaussian"
    """What the noise is."""
    noise_on: Literal["learned_path", "all"] | None = None
    """Whether the last frame stays clean where it joins at the end. None: `all` for `seed`, as in the tutorial, and
    `learned_path` otherwise."""

    def __post_init__(self) -> None:
        name = "convlstm_autoencoder"
        between(name, "filters", self.filters, 1)
        between(name, "depth", self.depth, 1, 6)
        between(name, "kernel", self.kernel, 1)
        between(name, "fold", self.fold, 1)
        between(name, "dropout", self.dropout, 0, 0.9)
        check_noise(name, self.noise or 0, self.noise_kind)
        if self.kernel % 2 == 0:
            raise UserError(f"{name}: kernel is {self.kernel}: give an odd number")
        fixed = ("filters", "depth", "kernel", "fold", "fine_skip", "norm", "dropout")
        changed = [field for field in fixed if getattr(self, field) != getattr(Config, field)]
        if self.variant != "default" and changed:
            raise UserError(f"{name}: {', '.join(changed)} of variant {self.variant} are its source's: leave them out")


SEARCH = {
    "config": {"filters": [4, 8, 16], "depth": [1, 2, 3], "norm": ["batch", "none"], "dropout": [0.0, 0.2]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


_SEED = Config(filters=4, fold=1, fine_skip=False, dropout=0.2)
"""The tutorial's sizes; its head is another one."""


class _Stage(nn.Module):
    """A ConvLSTM over a list of (B, C, H, W), one a moment, and batch norm over all moments together, as Keras does."""

    def __init__(self, sizes: Config, inputs: int, filters: int, *, normed: bool = True) -> None:
        super().__init__()
        self.cell = ConvLSTM(inputs, filters, sizes.kernel)
        self.norm = nn.BatchNorm2d(filters, eps=1e-3) if normed and sizes.norm == "batch" else nn.Identity()

    def forward(self, states: list[Tensor], *, last_only: bool = False) -> list[Tensor]:
        seen = self.cell(states)
        return _each(self.norm, seen[-1:] if last_only else seen)


class ConvlstmAutoencoder(Predictor):
    """(B, T, C, H, W) with any T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.seed = config.variant == "seed"
        sizes = _SEED if self.seed else config
        strength = (0.1 if self.seed else 0.0) if config.noise is None else config.noise
        self.noise = Noise(strength, config.noise_kind, config.noise_on or ("all" if self.seed else "learned_path"))
        self.fold = sizes.fold
        inputs, outputs = (frames * task.channels * self.fold**2 for frames in (1, task.horizon))
        widths = [sizes.filters * 2**scale for scale in range(sizes.depth + 1)]
        below = [inputs, *widths]
        self.down = nn.ModuleList(_Stage(sizes, below[scale], widths[scale]) for scale in range(sizes.depth))
        self.bottom = _Stage(sizes, widths[-2], widths[-1], normed=False)
        # two a scale on the way up, the coarsest first; the finest has one
        self.wide = nn.ModuleList(_Stage(sizes, width, width) for width in reversed(widths[2:]))
        self.up = nn.ModuleList(_Stage(sizes, 2 * width, width) for width in reversed(widths[1:-1]))
        self.fine_skip = sizes.fine_skip
        self.last = _Stage(sizes, widths[1] + (widths[0] if self.fine_skip else 0), widths[0])
        self.dropout = nn.Dropout(sizes.dropout)
        joined = widths[0] + inputs
        self.head = nn.Conv2d(joined, outputs, 1) if self.seed else zero_head(joined, outputs, 1)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        seen, carried = self.noise(context)
        if self.seed:
            joins = carried[:, -1:]
        else:
            seen, joins = standardise(seen), standardise(start_frame(carried, between=self.between))
        multiple = 2 ** len(self.down)
        state = self._last_state(list(fold_pixels(seen, self.fold, multiple).unbind(1)))
        frame = fold_pixels(joins, self.fold, multiple)[:, 0]
        made = unfold_pixels(
            self.head(torch.cat((state, frame.to(state.dtype)), dim=1)), self.fold, *context.shape[-2:]
        )
        if self.seed:
            return Output(made.float().unflatten(1, (self.steps, -1)))
        return Output(add_residual(carried, made, self.steps, between=self.between))

    def _last_state(self, states: list[Tensor]) -> Tensor:
        """(B, c, H, W), from what was seen at every moment."""
        skips = []
        for stage in self.down:
            states = stage(states)
            skips.append(states)
            states = _each(_halve, states)
        states = self.bottom(states)
        for wide, up, skip in zip(self.wide, self.up, reversed(skips[1:]), strict=True):
            states = up(wide(_each(_double, states)))
            states = [self.dropout(state + before) for state, before in zip(states, skip, strict=True)]
        states = _each(_double, states)
        if self.fine_skip:
            states = [torch.cat(both, dim=1) for both in zip(states, skips[0], strict=True)]
        state: Tensor = self.last(states, last_only=True)[0]
        return state


def _halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _each(layer: Callable[[Tensor], Tensor], states: list[Tensor]) -> list[Tensor]:
    """A layer that knows no time, for all moments at once."""
    return list(layer(torch.cat(states)).chunk(len(states)))


def build(config: Config, task: Task) -> ConvlstmAutoencoder:
    """A `ConvlstmAutoencoder` for a task."""
    return ConvlstmAutoencoder(config, task)
