"""Frames in memory to another size, by the same ffmpeg graph as files: a model sees what it was trained on.

In: uint8 frames (T, H, W, 3). Out: the same at another height and width.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from vidpred.data import launch, media
from vidpred.errors import UserError


def resized(frames: np.ndarray, *, height: int, width: int, fit: media.Fit = "crop") -> np.ndarray:
    """Frames at another size.

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        height: Rows to have.
        width: Columns to have.
        fit: How another shape is brought to this one.

    Returns:
        uint8 (T, height, width, 3).

    Raises:
        UserError: ffmpeg cannot do it.
    """
    look = media.Look(height, width, fit=fit, max_seconds=len(frames), max_frames=len(frames), untimed_fps=1)
    with tempfile.TemporaryDirectory(prefix="vidpred-") as folder:
        np.save(source := Path(folder) / "frames.npy", np.ascontiguousarray(frames))
        (found,) = media.decode_to(Path(folder), [media.Job(source)], look, ffmpeg=launch.any_ffmpeg())
        if isinstance(found, media.MediaError):
            raise UserError(f"frames of {frames.shape[2]}x{frames.shape[1]} cannot be resized: {found}")
        return np.fromfile(found.raw, np.uint8).reshape(-1, height, width, 3)
