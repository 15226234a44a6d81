"""The perceptual distance between two images ("redmean"), pixel by pixel: shared by models, losses and metrics."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_perceptual_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """The square of the perceptual distance of every pixel.

    With R, G, B in 0..255 and r the mean red of both images, (512 + r)·ΔR²/256 + 4·ΔG² + (767 - r)·ΔB²/256. The
    weights, r, are clamped to 0..255 and carry no gradient, so that a wild prediction cannot turn one negative.

    Args:
        prediction: (..., 3, H, W) in [0, 1], red, green, blue.
        target: Same shape and range.

    Returns:
        (..., H, W) float32, in squared grey levels.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        predicted, true = prediction.float() * 255, target.float() * 255
        red, green, blue = (predicted - true).square().unbind(-3)
        mean_red = (predicted.select(-3, 0) + true.select(-3, 0)).detach().div(2).clamp(0, 255)
        return (512 + mean_red) * red / 256 + 4 * green + (767 - mean_red) * blue / 256


def perceptual_distance_map(prediction: Tensor, target: Tensor) -> Tensor:
    """The perceptual distance of every pixel, (..., H, W) float32 in grey levels; not for gradients (see losses)."""
    return squared_perceptual_distance(prediction, target).sqrt()
