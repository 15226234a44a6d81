"""From features to scores: averages of what several parts of a clip say, and how a variant's fields are guarded."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.types import Scores

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def mean_score(logits: Tensor) -> Tensor:
    """(B, N, classes) of N parts to logits (B, classes) float32 whose softmax is the mean of theirs."""
    return torch.logsumexp(logits.float().log_softmax(dim=-1), dim=1) - math.log(logits.shape[1])


def agreed(logits: Tensor, *, training: bool) -> Scores:
    """What N parts of a clip say together, (B, N, classes), and while training what each says."""
    alone = logits.float().unbind(1) if training and logits.shape[1] > 1 else ()
    return Scores(mean_score(logits), tuple(alone))


def pooled(maps: Tensor) -> Tensor:
    """(N, C, ...) to (N, C): the mean over time and space."""
    return maps.flatten(2).mean(dim=2)


class Places(nn.Module):
    """Maps (N, channels, H, W) of any size to a vector (N, `features`) that still tells where things are.

    Args:
        channels: Of the maps.
        kept: Channels that are kept; a 1x1 convolution chooses.
        grid: The maps are averaged to so many places a side.
    """

    def __init__(self, channels: int, kept: int, grid: int) -> None:
        super().__init__()
        self.choose = nn.Conv2d(channels, kept, 1)
        self.grid = grid
        self.features = kept * grid**2

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        return resized(F.silu(self.choose(maps)), (self.grid, self.grid)).flatten(1)


def resized(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps (N, C, [T,] H, W) averaged to another size, where they do not have it."""
    if tuple(maps.shape[2:]) == size:
        return maps
    adapted: Tensor = (F.adaptive_avg_pool2d if len(size) == 2 else F.adaptive_avg_pool3d)(maps, size)  # type: ignore[arg-type]
    return adapted


class ClipNorm(nn.BatchNorm1d):
    """Batch norm of the features (N, C) of N clips; of a single one by the running statistics, also while training.

    Averages over all places of a clip differ little from clip to clip, beside what they have in common: without it
    `conv_rnn` and `slowfast` did not begin to learn motion.
    """

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.training and len(x) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def mlp(inputs: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    """Features that were averaged over places, (N, inputs), to logits: a norm over clips and two linear layers."""
    return nn.Sequential(
        ClipNorm(inputs),
        he(nn.Linear(inputs, hidden)),
        nn.SiLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, classes),
    )


def he(network: nn.Module) -> nn.Module:
    """Draws a network's weights anew so that signals keep their size through layers without norms (He et al. 2015,
    arXiv 1502.01852); torch's own make them six times weaker with every layer."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def only_default(model: str, config: DataclassInstance, *, free: tuple[str, ...] = ()) -> None:
    """Does nothing where `variant` is default, or no other field but the `free` ones was set.

    Raises:
        UserError: a variant that is somebody's network was to be another one.
    """
    told: Any = config
    if told.variant == "default":
        return
    changed = [
        field.name
        for field in dataclasses.fields(config)
        if field.name not in ("variant", *free) and getattr(config, field.name) != field.default
    ]
    if changed:
        raise UserError(f"{model}: {', '.join(changed)} of variant {told.variant} are its source's: leave them out")
