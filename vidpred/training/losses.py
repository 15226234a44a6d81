"""Losses by name and their weighted sum: a prediction and its target in, one number with a gradient out.

Frames are float in [0, 1], of any equal shape (..., C, H, W); predictions are not clamped. All is computed in float32,
also under autocast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models.blocks.distance import squared_perceptual_distance

Loss = Callable[[Tensor, Tensor], Tensor]
Name = TypeVar("Name", bound=str)  # a mapping's keys are invariant: also those of a Literal

GREY_LEVEL = 1 / 255
PERCEPTUAL_GREY_LEVEL = 3.0
"""The perceptual distance of an error of one grey level in every channel: sqrt((512 + 767) / 256 + 4)."""


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error."""
    return (prediction.float() - target.float()).abs().mean()


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error."""
    return (prediction.float() - target.float()).square().mean()


def charbonnier(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of sqrt(error² + eps²) - eps with eps of one grey level: L1, but smooth at zero."""
    difference = prediction.float() - target.float()
    return ((difference.square() + GREY_LEVEL**2).sqrt() - GREY_LEVEL).mean()


def perceptual(prediction: Tensor, target: Tensor) -> Tensor:
    """The perceptual distance in units of 255, smooth at zero: mean of (sqrt(PD² + eps²) - eps) / 255.

    eps is the distance of one grey level, so the gradient fades below what 8 bits can show. The weights of red and
    blue carry no gradient.
    """
    squared = squared_perceptual_distance(prediction, target)
    return ((squared + PERCEPTUAL_GREY_LEVEL**2).sqrt() - PERCEPTUAL_GREY_LEVEL).mean() / 255


def gdl(prediction: Tensor, target: Tensor) -> Tensor:
    """Gradient difference loss, alpha 1 (Mathieu et al. 2015, arXiv 1511.05440): means, not sums, over pixels."""
    rows = _gradient(target, -2) - _gradient(prediction, -2)
    columns = _gradient(target, -1) - _gradient(prediction, -1)
    return rows.abs().mean() + columns.abs().mean()


def _gradient(frames: Tensor, dim: int) -> Tensor:
    return frames.float().diff(dim=dim).abs()


LOSSES: dict[str, Loss] = {
    "l1": l1,
    "mse": mse,
    "charbonnier": charbonnier,
    "perceptual": perceptual,
    "gdl": gdl,
}


def weighted(loss: Mapping[Name, float]) -> Loss:
    """The weighted sum of named losses, such as {"perceptual": 1.0, "gdl": 0.25}.

    Raises:
        UserError: no loss is named, or one that is not there.
    """
    unknown = sorted(set(loss) - set(LOSSES))
    if unknown or not loss:
        what = f"no loss is called {', '.join(unknown)}" if unknown else "loss is empty"
        raise UserError(f"{what}: name some of {', '.join(LOSSES)}")
    terms = [(LOSSES[name], float(weight)) for name, weight in loss.items()]

    def total(prediction: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(prediction.device.type, enabled=False):
            return torch.stack([weight * term(prediction, target) for term, weight in terms]).sum()

    return total
