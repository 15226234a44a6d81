"""Where predictions erred: the perceptual distance of every pixel as a colour, on a scale that is drawn beside it."""

from __future__ import annotations

import numpy as np

_TOPS = (10, 20, 50, 100, 200, 500)
"""PD at which colours end: the least that all but a few pixels stay under."""
_WITHIN = 99.5
"""Per cent of the pixels that something moves in."""


def error_maps(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Perceptual distance of every pixel, float32 (N, H, W) from 0 to 765; its mean is PD.

    Args:
        predicted: uint8 (N, H, W, 3).
        truth: uint8 (N, H, W, 3).
    """
    import torch

    from vidpred.models.blocks.distance import perceptual_distance_map
    from vidpred.types import to_float

    pair = (to_float(torch.from_numpy(np.ascontiguousarray(frames))) for frames in (predicted, truth))
    found: np.ndarray = perceptual_distance_map(*pair).numpy()
    return found


def scale_of(maps: np.ndarray) -> int:
    """PD at which colours end, the same for all that is to be compared."""
    wrong = maps[maps >= 1]
    reached = float(np.percentile(wrong, _WITHIN)) if wrong.size else 0.0
    return next((top for top in _TOPS if top >= reached), 765)


def coloured(maps: np.ndarray, top: float) -> np.ndarray:
    """Maps (..., H, W) from black (right) over red to pale yellow (`top` and beyond): uint8 (..., H, W, 3)."""
    shades: np.ndarray = _colours()[np.clip(maps * (255 / top), 0, 255).astype(np.uint8)]
    return shades


def _colours() -> np.ndarray:
    """OpenCV's inferno, whose brightness rises evenly: uint8 (256, 3)."""
    import cv2

    levels = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, 0, ::-1])


def scale_bar(width: int, height: int) -> np.ndarray:
    """The colours from nothing to the end of the scale, left to right: uint8 (height, width, 3)."""
    return np.broadcast_to(_colours()[np.linspace(0, 255, width).astype(int)], (height, width, 3)).copy()
