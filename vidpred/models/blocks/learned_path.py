"""What the trained models share on the path that learns: noise and scale at its start, a head of zeros at its end."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def add_noise(frames: Tensor, sigma: float, *, training: bool) -> Tensor:
    """Frames plus Gaussian noise of this standard deviation while training, from torch's global generator."""
    return frames + sigma * torch.randn_like(frames) if training and sigma > 0 else frames


def standardise(frames: Tensor) -> Tensor:
    """Frames in [0, 1] to about zero mean and unit variance: as they are, networks learn several times slower."""
    return 4 * (frames - 0.5)


def zero_head(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that gives zeros until it is trained, so that a residual starts as no residual."""
    head = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return head


def add_residual(context: Tensor, residual: Tensor, steps: int) -> Tensor:
    """The last frame plus a residual for every step, in float32.

    Args:
        context: (B, T, C, H, W).
        residual: (B, steps·C, H, W).
        steps: Frames to predict.

    Returns:
        (B, steps, C, H, W) float32.
    """
    batch, _, channels, height, width = context.shape
    return context[:, -1:].float() + residual.float().reshape(batch, steps, channels, height, width)
