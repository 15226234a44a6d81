"""Pixels in [-1, 1], for networks that end in tanh."""

from __future__ import annotations

from torch import Tensor


def to_signed(frames: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]."""
    return 2 * frames - 1


def from_signed(frames: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], float32."""
    return (frames.float() + 1) / 2
