"""How far an exported graph is from the original, in grey levels: on noise and on things that move, at many sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidpred.config import FlowParams
from vidpred.models.rollout import rollout
from vidpred.types import Predictor, Task, to_float

Runner = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""An exported graph: its inputs by name, float32, to its frames (B, steps, C, H, W)."""


class Compared(NamedTuple):
    """What a comparison gave."""

    largest: float
    """The largest difference of all, in grey levels of 255."""
    shapes: list[tuple[int, int, int]]
    """Batches, rows and columns that were tried."""


def compare(
    model: Predictor,
    run: Runner,
    task: Task,
    info: Mapping[str, Any],
    frames: int,
    shapes: Sequence[tuple[int, int, int]],
    *,
    advance: Callable[[], None] = lambda: None,
) -> Compared:
    """Holds a graph against its model, on noise and on moving pictures of each shape.

    Args:
        model: In eval mode, on the CPU.
        run: The graph, read back from its file.
        task: What the model was trained for.
        info: Its model.json, which tells how flow is computed.
        frames: How many the graph gives.
        shapes: Batches, rows and columns.
        advance: Called once a shape.
    """
    largest = 0.0
    flow = _flow(info) if model.needs_flow else None
    for number, (batch, height, width) in enumerate(shapes):
        rng = np.random.default_rng(number)
        for clips in (noise, moving):
            context = to_float(torch.from_numpy(clips(rng, (batch, task.context, height, width))))
            inputs = {"context": context.numpy()}
            field = flow(context) if flow is not None else None
            if field is not None:
                inputs["flow"] = field.numpy()
            with torch.inference_mode():
                given = None if field is None else (lambda _, field=field: field)
                original = rollout(model, context, frames, flow=given, clamp=True).frames.clamp(0, 1)
            off = np.abs(run(inputs).astype(np.float64) - original.numpy())
            largest = max(largest, float(np.nan_to_num(off, nan=np.inf).max()) * 255)
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
    """Flow of a context, as `FramePredictor` computes it."""
    from vidpred.data.clips import flow_of

    params = FlowParams(**info.get("flow", {}))
    return lambda context: flow_of(context, params)
