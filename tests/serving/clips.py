"""Clips whose future is known, a model that is right about them, and results read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vidpred.data import launch, media
from vidpred.evaluation.pictures import GAP
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.types import Task

SIDE = 32


def clip(length: int, *, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """uint8 (length, height, width, 3): a white square on black that moves to the right, one pixel a frame."""
    frames = np.zeros((length, height, width, 3), np.uint8)
    for i in range(length):
        frames[i, 8:16, 2 + i : 10 + i] = 255
    return frames


def moving_on(folder: Path, *, context: int = 3, interval: int = 1, fps: float | None = 10.0, **told: object) -> Path:
    """A model that moves everything one pixel to the right."""
    task = Task(context=context, horizon=1, height=SIDE, width=SIDE, interval=interval)
    model = zoo.build("conv2d", {"variant": "seed"}, task)
    kernel, bias = model.parameters()
    with torch.no_grad():
        kernel.zero_()
        bias.zero_()
        for colour in range(3):
            kernel[colour, (context - 1) * 3 + colour, 1, 0] = 1
    info = {"data_id": "d", **({"fps": fps} if fps else {}), **told}
    save_model(folder, model, name="conv2d", config={"variant": "seed"}, task=task, info=info)
    return folder


def transparent(path: Path, length: int = 6) -> Path:
    """A GIF with a white square on nothing at all."""
    images = []
    for frame in clip(length):
        square = Image.fromarray(np.dstack([frame, frame[..., 0]]), "RGBA")
        images.append(square)
    images[0].save(path, save_all=True, append_images=images[1:], duration=100, loop=0, disposal=2)
    return path


def read(path: Path, *, height: int = SIDE + 2 * GAP, width: int = SIDE + 2 * GAP) -> np.ndarray:
    """Every frame of a result."""
    return media.decode(path, height=height, width=width, ffmpeg=launch.ffmpeg_binary())


def inside(frames: np.ndarray) -> np.ndarray:
    """Frames without their border."""
    return frames[:, GAP:-GAP, GAP:-GAP]
