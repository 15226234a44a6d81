"""Multi-layer recurrent convolutional network: each layer sees the one below and itself one moment before.

After Ballas et al. 2016 (arXiv 1511.06432), without their pretrained features: maps instead of vectors all the way,
convolutions for the matrix products of a recurrent network. The top layer's last state adds to the last frame. The
lecture it is taken from gives no sizes, so there is no `seed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import add_residual, fold_pixels, standardise, unfold_pixels, zero_head
from vidpred.models.blocks.recurrent_layers import recurrent_layers, run_layers
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    cell: Literal["rnn", "gru", "lstm"] = "gru"
    """What a layer does at every moment: plain recurrence, gated, or with a memory of its own."""
    filters: int = 16
    """Channels of every layer's state."""
    layers: int = 2
    """Recurrent layers, each fed by the states of the one below."""
    kernel: int = 3
    """Side of the kernels, in (folded) pixels; odd."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range, or `kernel` is even.
        """
        for field in ("filters", "layers", "kernel", "fold"):
            between("conv_rnn", field, getattr(self, field), 1)
        if self.kernel % 2 == 0:
            raise UserError(f"conv_rnn: kernel is {self.kernel}: give an odd number")


SEARCH = {
    "config": {"cell": ["rnn", "gru", "lstm"], "filters": [8, 16, 32], "layers": [1, 2, 3], "fold": [2, 4]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class ConvRnn(Predictor):
    """(B, T, C, H, W) with any T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.fold = config.fold
        filters = config.filters
        inputs, outputs = (frames * task.channels * config.fold**2 for frames in (1, task.horizon))
        self.cells = recurrent_layers(config.cell, inputs, filters, config.layers, config.kernel)
        self.head = zero_head(filters, outputs)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        states = run_layers(self.cells, fold_pixels(standardise(context), self.fold))
        residual = unfold_pixels(self.head(states[-1]), self.fold, *context.shape[-2:])
        return Output(add_residual(context, residual, self.steps, between=self.between))


def build(config: Config, task: Task) -> ConvRnn:
    """A `ConvRnn` for a task."""
    return ConvRnn(config, task)
