"""Structural similarity (SSIM, Wang et al. 2004) and its relatives, per colour channel: frames in, maps or means out.

Windows lie wholly inside the frame, as scikit-image has them; torchmetrics gives the same maps, but its mean takes in
mirrored borders since version 1. All is computed in float64: variances are differences of near-equal numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vidpred.errors import UserError

SSIM_WINDOW = 11
"""Pixels a side of SSIM's Gaussian window."""
SSIM_SIGMA = 1.5
"""Its standard deviation in pixels."""
THREE_SCALES = (0.0448, 0.2856, 0.3001)
"""Of the five weights of Wang et al. 2003 those of the finest three scales; `ms_ssim` divides by their sum."""
UNIFORM_WINDOW = 7
"""Pixels a side of the window that scikit-image takes when told of none."""


def ssim_map(p: Tensor, y: Tensor) -> Tensor:
    """SSIM wherever its Gaussian window lies wholly inside the frame, for values in [0, 1].

    Args:
        p: (..., H, W).
        y: Same shape.

    Returns:
        (..., H - 10, W - 10) float64.

    Raises:
        UserError: frames are smaller than the window.
    """
    height, width = y.shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise UserError(
            f"frames are {height}x{width}, SSIM's window is {SSIM_WINDOW} pixels: set transcode.height and "
            f"transcode.width to at least {SSIM_WINDOW}"
        )
    luminance, structure = _luminance_and_structure(p, y, window=SSIM_WINDOW, sigma=SSIM_SIGMA)
    return luminance * structure


def ms_ssim(p: Tensor, y: Tensor, weights: tuple[float, ...] = THREE_SCALES) -> Tensor:
    """Multi-scale SSIM (Wang et al. 2003): a scale for each weight, each half as large as the one before.

    The product of the mean contrast and structure of every scale, of the coarsest one with its luminance, each to the
    power of its weight; means below zero count as zero. An odd last row or column is left out when a scale is halved.

    Args:
        p: (..., H, W) in [0, 1].
        y: Same shape.
        weights: From the finest scale on; divided by their sum.

    Returns:
        (...) float64.

    Raises:
        UserError: the coarsest scale is smaller than SSIM's window.
    """
    height, width = y.shape[-2:]
    least = SSIM_WINDOW * 2 ** (len(weights) - 1)
    if min(height, width) < least:
        raise UserError(
            f"frames are {height}x{width}, SSIM at {len(weights)} scales needs {least} pixels: set transcode.height "
            f"and transcode.width to at least {least}, or ask for ssim"
        )
    product = torch.ones((), dtype=torch.float64, device=y.device)
    for scale, weight in enumerate(weights, start=1):
        luminance, structure = _luminance_and_structure(p, y, window=SSIM_WINDOW, sigma=SSIM_SIGMA)
        map_ = luminance * structure if scale == len(weights) else structure
        product = product * map_.mean(dim=(-2, -1)).clamp(min=0) ** (weight / sum(weights))
        if scale < len(weights):
            p, y = _halved(p), _halved(y)
    return product


def uniform_ssim_map(p: Tensor, y: Tensor, *, data_range: float) -> Tensor:
    """SSIM with a uniform 7x7 window and unbiased variances, what scikit-image computes when told nothing else.

    Returns:
        (..., H - 6, W - 6) float64.

    Raises:
        UserError: frames are smaller than the window.
    """
    height, width = y.shape[-2:]
    if min(height, width) < UNIFORM_WINDOW:
        raise UserError(
            f"frames are {height}x{width}, this SSIM's window is {UNIFORM_WINDOW} pixels: set transcode.height and "
            f"transcode.width to at least {UNIFORM_WINDOW}"
        )
    luminance, structure = _luminance_and_structure(
        p, y, window=UNIFORM_WINDOW, sigma=math.inf, data_range=data_range, unbiased=True
    )
    return luminance * structure


def _luminance_and_structure(
    p: Tensor, y: Tensor, *, window: int, sigma: float, data_range: float = 1.0, unbiased: bool = False
) -> tuple[Tensor, Tensor]:
    """The two factors of SSIM, the second of them contrast and structure in one."""
    p, y = p.double(), y.double()
    # the window is separable, so blurring is one small matrix for rows and one for columns
    over_rows, over_columns = (_blurring(size, window, sigma, y.device) for size in y.shape[-2:])
    mean_p, mean_y, mean_pp, mean_yy, mean_py = (
        over_rows @ maps @ over_columns.T for maps in (p, y, p.square(), y.square(), p * y)
    )
    variance_p, variance_y = mean_pp - mean_p.square(), mean_yy - mean_y.square()
    covariance = mean_py - mean_p * mean_y
    if unbiased:
        pixels = window**2
        variance_p, variance_y, covariance = (x * pixels / (pixels - 1) for x in (variance_p, variance_y, covariance))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_p * mean_y + c1) / (mean_p.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variance_p + variance_y + c2)
    return luminance, structure


def _blurring(size: int, width: int, sigma: float, device: torch.device) -> Tensor:
    """(size - width + 1, size) float64: the window at every place where it lies wholly inside; infinite: uniform."""
    offsets = torch.arange(size, device=device) - torch.arange(size - width + 1, device=device)[:, None]
    distance = offsets.double() - width // 2
    window = torch.where(distance.abs() <= width // 2, torch.exp(-distance.square() / (2 * sigma**2)), 0)
    return window / window.sum(dim=1, keepdim=True)


def _halved(frames: Tensor) -> Tensor:
    """Means of 2x2 pixels."""
    halved = F.avg_pool2d(frames.double().flatten(0, -3)[:, None], 2)
    return halved.view(*frames.shape[:-2], *halved.shape[-2:])
