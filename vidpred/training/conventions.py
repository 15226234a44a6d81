"""Figures as other people's tables have them, for comparison with those tables only.

Unlike all other metrics these take predictions as the model gives them, neither clamped nor rounded. In:
(B, N, C, H, W) float, nominally in [0, 1]; out: (B, N) float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.training.similarity import uniform_ssim_map


def ssim_openstl(p: Tensor, y: Tensor) -> Tensor:
    """OpenSTL's SSIM: scikit-image's default of years ago, whose data range for floats is 2.

    The range makes its constants four times as large, so figures are higher than those of `ssim`.
    """
    return uniform_ssim_map(p, y, data_range=2).mean(dim=(2, 3, 4))


def mse_sum(p: Tensor, y: Tensor) -> Tensor:
    """Squared error summed over a frame's pixels, as Moving-MNIST tables have it.

    Those digits are of one channel. The mean over channels is summed, so that the same digits stored in colour have
    the same figure.
    """
    return (p - y).square().mean(dim=2).sum(dim=(2, 3), dtype=torch.float64)


def mae_sum(p: Tensor, y: Tensor) -> Tensor:
    """Absolute error summed over a frame's pixels, otherwise as `mse_sum`."""
    return (p - y).abs().mean(dim=2).sum(dim=(2, 3), dtype=torch.float64)


def l2_sum(p: Tensor, y: Tensor) -> Tensor:
    """Squared error summed over pixels and channels, as Mathieu et al. 2015 (arXiv 1511.05440) have their L2 loss."""
    return (p - y).square().sum(dim=(2, 3, 4), dtype=torch.float64)


def total_loss(p: Tensor, y: Tensor) -> Tensor:
    """L2 and the gradient difference (alpha 1), both summed over pixels and channels."""
    rows, columns = (y.diff(dim=dim).abs() - p.diff(dim=dim).abs() for dim in (-2, -1))
    gdl = sum(maps.abs().sum(dim=(2, 3, 4), dtype=torch.float64) for maps in (rows, columns))
    return l2_sum(p, y) + gdl
