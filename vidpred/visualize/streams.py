"""A classifier as something to differentiate: scores of a class by gradients that do not saturate.

In: clips and flow. Out: for every part of the model that judges by itself, such as each of two streams, the log-odds of
one class for each clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vidpred.types import Classifier


@contextmanager
def differentiable(model: Classifier) -> Iterator[Classifier]:
    """A model in eval mode whose weights take no gradient, so that only inputs do; afterwards it is as it was."""
    moved = [weight for weight in model.parameters() if weight.requires_grad]
    modes = {module: module.training for module in model.modules()}
    model.eval().requires_grad_(False)
    try:
        with torch.backends.cudnn.flags(enabled=False):  # its LSTM has no gradient in eval mode
            yield model
    finally:
        for weight in moved:
            weight.requires_grad_(True)
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def disturbed(model: Classifier, share: float, draw: torch.Generator) -> Iterator[None]:
    """Every weight off by so much of its size, drawn anew: what only just these weights see means little to others."""
    kept = [(weight, weight.data) for weight in model.parameters()] if share else []
    try:
        for weight, data in kept:
            weight.data = data * (1 + share * torch.randn(data.shape, generator=draw).to(data))
        yield
    finally:
        for weight, data in kept:
            weight.data = data


def parts(model: Classifier, clip: Tensor, flow: Tensor | None) -> tuple[Tensor, ...]:
    """Logits (B, classes) of each part that judges by itself; of a model without parts, its logits.

    What parts say together is the mean of their beliefs: once one of two streams is sure, the other gets no gradient.
    """
    # Parts are told while training only; the modules below stay in eval mode, so that nothing is drawn or averaged.
    model.training = True
    try:
        scores = model(clip, flow)
    finally:
        model.training = False
    return scores.auxiliary or (scores.logits,)


def log_odds(logits: Tensor, wanted: Tensor) -> Tensor:
    """Of logits (B, classes), log of how much likelier one class (B,) is than all others together: (B,)."""
    chosen = logits.gather(1, wanted[:, None])
    others = logits.masked_fill(
        torch.zeros_like(logits, dtype=torch.bool).scatter(1, wanted[:, None], True), -torch.inf
    )
    return chosen[:, 0] - others.logsumexp(dim=1)
