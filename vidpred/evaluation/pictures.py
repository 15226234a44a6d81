"""Pictures of predictions beside the truth: a filmstrip (PNG) and a moving pair (GIF)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vidpred.data.encode import write_gif

GREEN, GREY = (46, 160, 67), (128, 128, 128)
GAP = 2
STRIP_STEPS = 12
"""Predicted frames in a filmstrip at the most: more would be too small to see."""


def spread(count: int, most: int) -> list[int]:
    """At most so many of `count` places, from the first to the last, evenly spaced."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, most)).round()})


def enlarge(frames: np.ndarray, side: int = 128) -> np.ndarray:
    """Small frames (..., H, W, 3) repeated to whole multiples, so that people see pixels and not specks."""
    factor = max(1, round(side / frames.shape[-2]))
    return frames.repeat(factor, axis=-3).repeat(factor, axis=-2)


def bordered(frames: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Frames (..., H, W, 3) with a thin border: (..., H + 2·GAP, W + 2·GAP, 3)."""
    *lead, height, width, _ = frames.shape
    out = np.empty((*lead, height + 2 * GAP, width + 2 * GAP, 3), np.uint8)
    out[...] = colour
    out[..., GAP:-GAP, GAP:-GAP, :] = frames
    return out


def write_filmstrip(path: Path, context: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> None:
    """Top row: what happened. Bottom row: what was seen, then what was predicted from it, in a green border.

    Args:
        path: Of the PNG.
        context: uint8 (T, H, W, 3).
        truth: uint8 (N, H, W, 3), the frames that followed.
        predicted: uint8 (N, H, W, 3).
    """
    top = bordered(enlarge(np.concatenate([context, truth]), 64), GREY)
    bottom = np.concatenate([bordered(enlarge(context, 64), GREY), bordered(enlarge(predicted, 64), GREEN)])
    Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in (top, bottom)])).save(path)


def write_restored(path: Path, frames: np.ndarray, restored: np.ndarray) -> None:
    """Top row: frames. Bottom row: what an autoencoder gave back of each, in a green border.

    Args:
        path: Of the PNG.
        frames: uint8 (N, H, W, 3).
        restored: uint8 (N, H, W, 3).
    """
    rows = bordered(enlarge(frames, 64), GREY), bordered(enlarge(restored, 64), GREEN)
    Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows])).save(path)


def write_pair(path: Path, context: np.ndarray, truth: np.ndarray, predicted: np.ndarray, *, fps: float) -> None:
    """Left: what happened. Right: the context, then the prediction in a green border.

    Args:
        path: Of the GIF.
        context: uint8 (T, H, W, 3).
        truth: uint8 (N, H, W, 3), the frames that followed.
        predicted: uint8 (N, H, W, 3).
        fps: Frames per second.
    """
    left = bordered(enlarge(np.concatenate([context, truth])), GREY)
    right = np.concatenate([bordered(enlarge(context), GREY), bordered(enlarge(predicted), GREEN)])
    write_gif(path, np.concatenate([left, right], axis=2), fps)
