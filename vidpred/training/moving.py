"""Metrics of the pixels that move: what a still background would otherwise drown.

A pixel moves where the last context frame and the truth differ, or within a few pixels of such a place. What a frame
in which nothing moves would score is nothing: NaN, which means over frames leave out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vidpred.models.blocks.distance import perceptual_distance_map
from vidpred.training.similarity import SSIM_WINDOW, ssim_map

THRESHOLD = 0.04
"""Difference in any channel above which a pixel has changed: more than ten grey levels."""
MARGIN = 3
"""Pixels around a changed one, in rows and columns, that count as moving with it."""


def moving_pixels(last: Tensor, target: Tensor) -> Tensor:
    """Which pixels move.

    Args:
        last: (B, C, H, W) in [0, 1], the last frame of the context.
        target: (B, N, C, H, W), the truth.

    Returns:
        (B, N, H, W) bool.
    """
    changed = (target - last[:, None]).abs().amax(dim=2) > THRESHOLD
    return F.max_pool2d(changed.float(), 2 * MARGIN + 1, stride=1, padding=MARGIN) > 0


def moving_share(p: Tensor, y: Tensor, moving: Tensor) -> Tensor:  # noqa: ARG001 - of the truth alone
    """The share of pixels that move."""
    return moving.mean(dim=(2, 3), dtype=torch.float64)


def pd_moving(p: Tensor, y: Tensor, moving: Tensor) -> Tensor:
    """The perceptual distance."""
    return _mean_over(moving, perceptual_distance_map(p, y))


def mse_moving(p: Tensor, y: Tensor, moving: Tensor) -> Tensor:
    """The mean squared error."""
    return _mean_over(moving, (p - y).square().mean(dim=2))


def ssim_moving(p: Tensor, y: Tensor, moving: Tensor) -> Tensor:
    """SSIM with its window's centre on pixels that move; the window itself sees what is around them."""
    border = SSIM_WINDOW // 2
    inside = moving[..., border : moving.shape[-2] - border, border : moving.shape[-1] - border]
    return _mean_over(inside, ssim_map(p, y).mean(dim=2))


def _mean_over(moving: Tensor, maps: Tensor) -> Tensor:
    """(B, N) float64; NaN where nothing moves."""
    total = torch.where(moving, maps, 0).sum(dim=(2, 3), dtype=torch.float64)
    return total / moving.sum(dim=(2, 3))
