"""Frames that a caller gives: whether they are what a model takes, and how they are brought to its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vidpred.types import Task


def check_frames(frames: np.ndarray, task: Task, *, batch: bool = False) -> None:
    """Does nothing where a model can look at frames.

    Args:
        frames: uint8 (T, H, W, 3), or with `batch` (B, T, H, W, 3).
        task: Of the model.
        batch: Whether they are several clips.

    Raises:
        ValueError: they are of another type or size; says of which.
    """
    wanted = f"uint8 ({'B, ' * batch}T, {task.height}, {task.width}, 3)"
    if frames.dtype != np.uint8 or frames.ndim != 4 + batch or frames.shape[-1] != 3:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected {wanted}, RGB from 0 to 255")
    if frames.shape[-3:-1] != (task.height, task.width):
        advice = "bring them to that size" if batch else "resize=True brings them to that size, as in training"
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected {wanted}: {advice}")


def resized_frames(frames: np.ndarray, info: Mapping[str, Any], task: Task) -> np.ndarray:
    """Frames of any size at the model's, as the clips were brought to it that it was trained on.

    Args:
        frames: uint8 (T, H, W, 3).
        info: The model's model.json.
        task: What it was trained for.

    Returns:
        uint8 (T, height, width, 3).

    Raises:
        ValueError: frames of another type.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (T, H, W, 3), RGB from 0 to 255")
    if frames.shape[1:3] == (task.height, task.width):
        return frames
    from vidpred.data.resize import resized  # what it imports most do without

    return resized(frames, height=task.height, width=task.width, fit=info.get("fit", "crop"))
