"""Multi-layer recurrent convolutional network: each layer sees the one below and itself one moment before.

After Ballas et al. 2016 (arXiv 1511.06432): maps instead of vectors all the way, convolutions for the matrix products
of a recurrent network. The average of the top layer's last state is scored. `paper` is theirs: GRUs over the maps that
VGG-16 gives after its last four poolings and over its second 4,096 features, each fed by the states below as well; the
scores of all five are averaged. Its reset gates act on the convolved state (`ConvGRU`), theirs before the convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.backbones import Backbone
from vidpred.models.blocks.learned_path import fold_pixels, standardise
from vidpred.models.blocks.recurrent_layers import recurrent_layers, run_layers
from vidpred.models.blocks.scoring import agreed, mlp, only_default, pooled, resized
from vidpred.models.blocks.simple_recurrent import ConvGRU
from vidpred.models.blocks.vgg import SIDE, Vgg16
from vidpred.models.checks import between
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "paper"] = "default"
    """`default`, or the paper's network for frames of 224x224."""
    cell: Literal["rnn", "gru", "lstm"] = "gru"
    """What a layer does at every moment: plain recurrence, gated, or with a memory of its own."""
    filters: int = 16
    """Channels of every layer's state."""
    layers: int = 2
    """Recurrent layers, each fed by the states of the one below, at half of its resolution."""
    kernel: int = 3
    """Side of the kernels, in (folded) pixels; odd."""
    hidden: int = 64
    """Features between the state's averages and the scores."""
    dropout: float = 0.0
    """Share of those features that is left out while training."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""
    pretrained: str = ""
    """For `paper`: a .safetensors file of VGG-16's weights under timm's names, where training begins; empty: at
    random."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range, or `kernel` is even.
        """
        for field in ("filters", "layers", "kernel", "hidden", "fold"):
            between("conv_rnn", field, getattr(self, field), 1)
        between("conv_rnn", "dropout", self.dropout, 0, 0.95)
        if self.kernel % 2 == 0:
            raise UserError(f"conv_rnn: kernel is {self.kernel}: give an odd number")
        if self.pretrained and self.variant == "default":
            raise UserError("conv_rnn: pretrained is for variant paper: leave it out")
        only_default("conv_rnn", self, free=("pretrained",))


SEARCH = {
    "config": {"cell": ["rnn", "gru", "lstm"], "filters": [8, 16, 32], "layers": [1, 2, 3], "fold": [2, 4]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (10, 224, 101)}
"""Of the variants: frames, rows and columns, classes."""


class ConvRnn(Classifier):
    """Clips of any length, frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.fold = config.fold
        inputs = task.channels * config.fold**2
        self.cells = recurrent_layers(config.cell, inputs, config.filters, config.layers, config.kernel)
        self.score = mlp(config.filters, config.hidden, len(task.classes), config.dropout)

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        states = run_layers(self.cells, fold_pixels(standardise(clip), self.fold), pool=True)
        return Scores(self.score(pooled(states[-1])).float())


TAPPED = {"stage2": 64, "stage3": 128, "stage4": 256, "stage5": 256, "fc": 512}
"""What GRUs see of VGG-16, and the channels of their states."""


class Published(Classifier):
    """Clips of any length, frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.look = Backbone("conv_rnn", "vgg16", task.channels, 0, over_time=False, pretrained=config.pretrained)
        net = self.look.net
        assert isinstance(net, Vgg16)
        self.vgg = (net,)  # in a tuple: its weights are in `look`
        seen = {**net.widths, "fc": net.features_out}
        below = dict(zip(TAPPED, [0, *TAPPED.values()], strict=False))
        self.cells = nn.ModuleDict(
            {stage: ConvGRU(seen[stage] + below[stage], n, 1 if stage == "fc" else 3) for stage, n in TAPPED.items()}
        )
        self.score = nn.ModuleDict(
            {stage: nn.Sequential(nn.Dropout(0.7), nn.Linear(n, len(task.classes))) for stage, n in TAPPED.items()}
        )

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        (net,) = self.vgg
        maps = self.look.standardised(clip.flatten(0, 1))
        states: list[Tensor] = []
        logits = []
        for stage in [*net.widths, "fc"]:
            if stage == "fc":
                maps = net.pre_logits(resized(maps, (SIDE, SIDE)))
            else:
                maps = net.stage(stage, maps)
            if stage in TAPPED:
                states = self._run(stage, list(maps.unflatten(0, clip.shape[:2]).unbind(1)), states)
                logits.append(self.score[stage](pooled(states[-1])))
        return agreed(torch.stack(logits, dim=1), training=self.training)

    def _run(self, stage: str, seen: list[Tensor], below: list[Tensor]) -> list[Tensor]:
        """States of a stage's GRU over what is seen and over the states below, pooled to the same places."""
        if below:
            size = seen[0].shape[-2:]
            seen = [
                torch.cat((s, F.adaptive_max_pool2d(b, size).to(s.dtype)), 1) for s, b in zip(seen, below, strict=True)
            ]
        states: list[Tensor] = self.cells[stage](seen)
        return states


def build(config: Config, task: Task) -> Classifier:
    """A `ConvRnn`, or the paper's, for a task.

    Raises:
        UserError: a file of weights that does not fit.
    """
    return Published(config, task) if config.variant == "paper" else ConvRnn(config, task)
