"""How far an exported graph is from the original: on noise and on things that move, at many sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidpred.config import FlowParams
from vidpred.serving.export.graph import FLOW
from vidpred.serving.export.subject import Subject
from vidpred.types import Task, to_float

Runner = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""An exported graph: its inputs by name, float32, to its frames (B, steps, C, H, W) or probabilities (B, classes)."""


class Compared(NamedTuple):
    """What a comparison gave."""

    largest: float
    """The largest difference of all, in the subject's unit."""
    shapes: list[tuple[int, int, int]]
    """Batches, rows and columns that were tried."""


def compare(
    subject: Subject,
    run: Runner,
    task: Task,
    info: Mapping[str, Any],
    shapes: Sequence[tuple[int, int, int]],
    *,
    advance: Callable[[], None] = lambda: None,
) -> Compared:
    """Holds a graph against its model, on noise and on moving pictures of each shape.

    Args:
        subject: The model, in eval mode, on the CPU.
        run: The graph, read back from its file.
        task: What the model was trained for.
        info: Its model.json, which tells how flow is computed.
        shapes: Batches, rows and columns.
        advance: Called once a shape.
    """
    largest = 0.0
    flow = _flow(info) if subject.needs_flow else None
    for number, (batch, height, width) in enumerate(shapes):
        rng = np.random.default_rng(number)
        for clips in (noise, moving):
            shown = to_float(torch.from_numpy(clips(rng, (batch, task.context, height, width))))
            inputs = {subject.input: shown.numpy()}
            field = flow(shown) if flow is not None else None
            if field is not None:
                inputs[FLOW] = field.numpy()
            with torch.inference_mode():
                original = subject.original(shown, field)
            off = np.abs(run(inputs).astype(np.float64) - original.numpy())
            largest = max(largest, float(np.nan_to_num(off, nan=np.inf).max()) * subject.scale)
        advance()
    return Compared(largest, list(shapes))


def noise(rng: np.random.Generator, shape: tuple[int, int, int, int]) -> np.ndarray:
    """uint8 (B, T, H, W, 3) of pixels that have nothing to do with each other."""
    return rng.integers(0, 256, (*shape, 3), np.uint8)


def moving(rng: np.random.Generator, shape: tuple[int, int, int, int]) -> np.ndarray:
    """uint8 (B, T, H, W, 3): soft waves that drift, and before them a bright box that goes its own way."""
    height, width = shape[2:]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    out = np.empty((*shape, 3), np.float32)
    for clip in out:
        direction = rng.normal(0, 0.15, (6, 2))
        phase, speed = rng.uniform(0, 6.3, (6, 3)), rng.normal(0, 0.6, 6)
        top, left, down, right = rng.integers(0, height // 2), rng.integers(0, width // 2), *rng.integers(-2, 3, 2)
        colour = rng.uniform(150, 255, 3)
        for t, frame in enumerate(clip):
            waves = direction[:, 0, None, None] * rows + direction[:, 1, None, None] * columns
            driven = np.sin(waves[..., None] + phase[:, None, None] + (speed * t)[:, None, None, None])
            frame[...] = 110 + 20 * driven.sum(axis=0)
            y, x = max(0, top + down * t), max(0, left + right * t)
            frame[y : y + height // 4, x : x + width // 4] = colour
    return np.asarray(np.clip(np.rint(out), 0, 255), np.uint8)


def _flow(info: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """Flow of frames, as `FramePredictor` and `ClipClassifier` compute it."""
    from vidpred.data.clips import flow_of

    params = FlowParams(**info.get("flow", {}))
    return lambda context: flow_of(context, params)
