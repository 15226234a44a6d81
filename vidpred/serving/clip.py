"""A clip that is to be predicted: read at the model's size, and told how far predictions of it are off."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidpred.data import launch, media
from vidpred.serving.predictor import FramePredictor

log = logging.getLogger(__name__)

MAX_SECONDS = 600
"""So much of a clip is read."""


@dataclass(frozen=True)
class Job:
    """One clip and where its result goes."""

    source: Path
    target: Path


def read_clip(predictor: FramePredictor, source: Path, fps: float | None) -> tuple[np.ndarray, float]:
    """A clip at the model's size: uint8 (T, H, W, 3), and its frames per second.

    Args:
        predictor: Whose size it is brought to.
        source: A GIF or video.
        fps: Frames per second at which it is read; None: its own frames.

    Raises:
        MediaError: it cannot be read.
    """
    ffmpeg = launch.any_ffmpeg()
    facts = media.facts(source, ffmpeg=ffmpeg)
    clip = media.decode(
        source,
        height=predictor.task.height,
        width=predictor.task.width,
        ffmpeg=ffmpeg,
        fps=fps,
        fit=predictor.info.get("fit", "crop"),
        max_seconds=MAX_SECONDS,
    )
    if facts.seconds is not None and facts.seconds > MAX_SECONDS:
        log.warning("%s is longer than %d minutes: what follows these is predicted", source, MAX_SECONDS // 60)
    return clip, fps or facts.fps


def figures_beside(truth: np.ndarray, predicted: np.ndarray, baselines: Mapping[str, np.ndarray]) -> str:
    """How far a prediction is off, beside the baseline that comes nearest.

    Args:
        truth: uint8 (N, H, W, 3).
        predicted: uint8 (N, H, W, 3).
        baselines: The same frames, by what was done to get them, in words.
    """
    import torch

    from vidpred.training.metrics import score
    from vidpred.types import to_float

    def scores(frames: np.ndarray) -> dict[str, float]:
        found = score(*(to_float(torch.from_numpy(given.copy()))[None] for given in (frames, truth)))
        return {name: float(values.mean()) for name, values in found.items()}

    pd, psnr = "perceptual_distance", "psnr_db"
    mine, known = scores(predicted), {name: scores(frames) for name, frames in baselines.items()}
    name = min(known, key=lambda name: known[name][pd])
    return f"PD {mine[pd]:.2f} ({name}: {known[name][pd]:.2f}), PSNR {mine[psnr]:.2f} dB ({known[name][psnr]:.2f})"
