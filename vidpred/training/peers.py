"""Workers that train one model together, each on its share of every batch (data parallelism).

All hold the same weights and take the same steps: gradients are averaged before each, so that N workers with a share of
1 / N end where one worker with the whole batch would, but for rounding, batch norm and noise. How numbers travel is the
business of whoever started the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class Peers(Protocol):
    """What a worker knows of the others."""

    @property
    def rank(self) -> int:
        """This worker's place, from 0; the first one writes checkpoints and tells of the run."""

    @property
    def size(self) -> int:
        """How many there are."""

    def average(self, numbers: Tensor) -> Tensor:
        """The mean over all workers of a vector, in its dtype; waits until each has handed in its own."""


class Alone:
    """The only worker."""

    rank = 0
    size = 1

    def average(self, numbers: Tensor) -> Tensor:
        return numbers


def averaged(peers: Peers, *numbers: float) -> list[float]:
    """Means over the workers; all get the same."""
    if peers.size == 1:
        return list(numbers)
    return [float(x) for x in peers.average(torch.tensor(numbers, dtype=torch.float64))]


def average_gradients(peers: Peers, parameters: Sequence[nn.Parameter]) -> None:
    """Replaces gradients by their means over the workers; where no worker has one, none has one afterwards."""
    if peers.size == 1:
        return
    flat = [p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in parameters]
    known = torch.tensor([p.grad is not None for p in parameters], dtype=flat[0].dtype, device=flat[0].device)
    mean = peers.average(torch.cat((*(f.to(flat[0].dtype) for f in flat), known)))
    *parts, known = mean.split([*(p.numel() for p in parameters), len(parameters)])
    for parameter, part, anybody in zip(parameters, parts, known.tolist(), strict=True):
        if anybody > 0:
            gradient = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = gradient.copy_(part.view_as(parameter))
