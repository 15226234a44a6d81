"""Losses by name and their weighted sum: a prediction and its target in, one number with a gradient out.

Frames are float in [0, 1], of any equal shape (..., C, H, W); predictions are not clamped. All is computed in float32,
also under autocast. `kl` and the adversarial losses are of latents and of a discriminator's logits: whoever has those
computes them, and hands the value to the weighted sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vidpred.errors import UserError
from vidpred.models.blocks.distance import squared_perceptual_distance

Loss = Callable[[Tensor, Tensor], Tensor]
Name = TypeVar("Name", bound=str)  # a mapping's keys are invariant: also those of a Literal

GREY_LEVEL = 1 / 255
PERCEPTUAL_GREY_LEVEL = 3.0
"""The perceptual distance of an error of one grey level in every channel: sqrt((512 + 767) / 256 + 4)."""
PYRAMID_LEVELS = 5
"""Levels of the Laplacian pyramid at the most, the coarsest not counted: the coarsest sees some 32 pixels at once."""


class WeightedLoss(Protocol):
    """What `weighted` returns."""

    def __call__(self, prediction: Tensor, target: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """The weighted sum.

        Args:
            prediction: (..., C, H, W).
            target: Same shape.
            given: Values of those losses that are not of frames (`GIVEN`), by name.
        """


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error."""
    return (prediction.float() - target.float()).abs().mean()


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error."""
    return (prediction.float() - target.float()).square().mean()


def l2_sum(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error summed over a frame's pixels and channels, then averaged over frames."""
    return _per_frame((prediction.float() - target.float()).square())


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


def gdl(prediction: Tensor, target: Tensor, *, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Gradient difference loss with alpha 1 (Mathieu et al. 2015, arXiv 1511.05440).

    Args:
        prediction: (..., C, H, W).
        target: Same shape.
        reduction: `mean`: over pixels, along rows and along columns, and the two added. `sum`, as the paper has it:
            over a frame's pixels and channels, then averaged over frames.
    """
    rows, columns = ((_gradient(target, dim) - _gradient(prediction, dim)).abs() for dim in (-2, -1))
    return rows.mean() + columns.mean() if reduction == "mean" else _per_frame(rows) + _per_frame(columns)


def laplacian(prediction: Tensor, target: Tensor) -> Tensor:
    """L1 between Laplacian pyramids: coarse errors count as much as fine ones.

    Every level is what a binomial 5x5 blur takes away, and the next one is of every second pixel of the blurred frame;
    the last is what is left. The means of all levels are added, which weighs level j by 4^j where sums are taken
    (Bojanowski et al. 2017, arXiv 1707.05776). Frames are continued at their edges.
    """
    left = prediction.float() - target.float()  # a pyramid is linear: that of the difference will do
    total = torch.zeros((), device=left.device)
    for _ in range(PYRAMID_LEVELS):
        if min(left.shape[-2:]) < 2:
            break
        blurred = _blurred(_blurred(left, -2), -1)
        total = total + (left - blurred).abs().mean()
        left = blurred[..., ::2, ::2]
    return total + left.abs().mean()


def adversarial(logits: Tensor) -> Tensor:
    """What a generator loses where a discriminator takes its frames for predictions: cross-entropy with "real".

    Args:
        logits: The discriminator's of predictions, any shape; high: taken for real.
    """
    with torch.autocast(logits.device.type, enabled=False):
        return F.softplus(-logits.float()).mean()


def discriminator(real: Tensor, predicted: Tensor) -> Tensor:
    """What a discriminator loses: the mean over both of the cross-entropy with what they are.

    Args:
        real: Its logits of true frames, any shape.
        predicted: Its logits of predictions, which carry no gradient to the generator if those were detached.
    """
    with torch.autocast(real.device.type, enabled=False):
        return (F.softplus(-real.float()).mean() + F.softplus(predicted.float()).mean()) / 2


def _gradient(frames: Tensor, dim: int) -> Tensor:
    return frames.float().diff(dim=dim).abs()


def _blurred(frames: Tensor, dim: int) -> Tensor:
    """(1, 4, 6, 4, 1) / 16 along one dimension, continued at its ends; sums are many times faster than convolution."""
    size = frames.shape[dim]
    first, last = frames.narrow(dim, 0, 1), frames.narrow(dim, size - 1, 1)
    continued = torch.cat([first, first, frames, last, last], dim)
    a, b, c, d, e = (continued.narrow(dim, i, size) for i in range(5))
    return (a + e + 4 * (b + d) + 6 * c) / 16


def _per_frame(maps: Tensor) -> Tensor:
    """The sum over a frame, averaged over frames."""
    return maps.sum(dim=(-3, -2, -1)).mean()


LOSSES: dict[str, Loss] = {
    "l1": l1,
    "mse": mse,
    "charbonnier": charbonnier,
    "perceptual": perceptual,
    "gdl": gdl,
    "laplacian": laplacian,
    "l2_sum": l2_sum,
    "gdl_sum": partial(gdl, reduction="sum"),
}
"""Losses of frames."""

GIVEN = ("kl", "adversarial")
"""Losses that need more than frames: their values are handed to the weighted sum."""


def weighted(loss: Mapping[Name, float]) -> WeightedLoss:
    """The weighted sum of named losses, such as {"perceptual": 1.0, "gdl": 0.25}.

    Raises:
        UserError: no loss is named, or one that is not there; when called: one of `GIVEN` is named and not given.
    """
    unknown = sorted(set(loss) - set(LOSSES) - set(GIVEN))
    if unknown or not loss:
        what = f"no loss is called {', '.join(unknown)}" if unknown else "loss is empty"
        raise UserError(f"{what}: name some of {', '.join([*LOSSES, *GIVEN])}")
    terms = {name: float(weight) for name, weight in loss.items()}

    def total(prediction: Tensor, target: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        known = given or {}
        if missing := [name for name in terms if name in GIVEN and name not in known]:
            raise UserError(f"this model gives no {' and no '.join(missing)}: leave it out of train.loss")
        with torch.autocast(prediction.device.type, enabled=False):
            values = [
                weight * (known[name].float() if name in GIVEN else LOSSES[name](prediction, target))
                for name, weight in terms.items()
            ]
            return torch.stack(values).sum()

    return total
