"""C3D (Tran et al. 2015, arXiv 1412.0767): nothing but 3x3x3 convolutions and 2x2x2 poolings, the first one 1x2x2.

The VGG of 3D networks. `paper` is its eight convolutions for 16 frames of 112x112, two layers of 4,096 features and the
scores; the default has batch norm, fewer layers, and averages instead of the two.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vidpred.models.blocks.learned_path import fold_pixels, standardise
from vidpred.models.blocks.nonlocal_after import NonLocalAfter
from vidpred.models.blocks.scoring import only_default, pooled, resized
from vidpred.models.checks import between
from vidpred.types import Classifier, Scores, Task

PUBLISHED = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Channels of the convolutions before each pooling."""
LAST = (1, 4, 4)
"""Moments, rows and columns after the last pooling, of 16 frames of 112x112."""


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "paper"] = "default"
    """`default`, or the paper's network."""
    width: int = 16
    """Channels of the first stage; the next ones have twice, three times … as many."""
    stages: int = 4
    """Stages: convolutions, each followed by a pooling but for the last one."""
    depth: int = 1
    """Convolutions of a stage."""
    dropout: float = 0.0
    """Share of the features that is left out while training, before the scores."""
    fold: int = 2
    """So many pixels a side become the channels of one; 1 keeps the full resolution."""
    nonlocal_after: tuple[str, ...] = ()
    """Stages that a non-local block follows: stage1, stage2 …"""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        for field in ("width", "depth", "fold"):
            between("c3d", field, getattr(self, field), 1)
        between("c3d", "stages", self.stages, 1, 6)
        between("c3d", "dropout", self.dropout, 0, 0.95)
        only_default("c3d", self, free=("nonlocal_after",))


SEARCH = {
    "config": {"width": [8, 16, 32], "stages": [3, 4], "depth": [1, 2], "dropout": [0.0, 0.2, 0.5]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (16, 112, 101)}
"""Of the variants: frames, rows and columns, classes."""


class C3d(Classifier):
    """Clips of any length, frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        published = config.variant == "paper"
        self.fold = 1 if published else config.fold
        wide = [(config.width * (stage + 1),) * config.depth for stage in range(config.stages)]
        each: tuple[tuple[int, ...], ...] = PUBLISHED if published else tuple(wide)
        ends = [task.channels * self.fold**2, *(stage[-1] for stage in each)]
        stages = zip(ends, each, strict=False)
        self.stages = nn.ModuleDict(
            {
                f"stage{n}": _convolutions(first, widths, norm=not published)
                for n, (first, widths) in enumerate(stages, 1)
            }
        )
        self.attend = NonLocalAfter("c3d", config.nonlocal_after, dict(zip(self.stages, ends[1:], strict=True)))
        self.first_pool = nn.MaxPool3d((1, 2, 2), ceil_mode=True)
        self.pool = nn.MaxPool3d(2, ceil_mode=True)
        self.published = published
        self.score: nn.Module
        if published:
            layers: list[nn.Module] = []
            for inputs in (ends[-1] * LAST[1] * LAST[2], 4096):
                layers += [nn.Linear(inputs, 4096), nn.ReLU(), nn.Dropout(0.5)]
            self.score = nn.Sequential(*layers, nn.Linear(4096, len(task.classes)))
        else:
            self.score = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(ends[-1], len(task.classes)))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        maps = fold_pixels(standardise(clip), self.fold).transpose(1, 2)
        maps = maps.contiguous(memory_format=torch.channels_last_3d)
        for number, (name, stage) in enumerate(self.stages.items(), 1):
            maps = self.attend.after(name, stage(maps))
            if self.published or number < len(self.stages):
                maps = (self.first_pool if number == 1 else self.pool)(maps)
        features = resized(maps, LAST).flatten(1) if self.published else pooled(maps)
        return Scores(self.score(features).float())


def _convolutions(inputs: int, widths: tuple[int, ...], *, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((inputs, *widths)):
        layers.append(nn.Conv3d(before, after, 3, padding=1, bias=not norm))
        layers += [nn.BatchNorm3d(after), nn.ReLU()] if norm else [nn.ReLU()]
    return nn.Sequential(*layers)


def build(config: Config, task: Task) -> C3d:
    """A `C3d` for a task.

    Raises:
        UserError: unknown stages.
    """
    return C3d(config, task)
