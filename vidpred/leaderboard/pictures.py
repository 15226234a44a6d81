"""The same clips as every model predicts them, for the page: small PNGs, and where in a frame the most happens.

In: the bench and what was predicted for the windows of the pictures. Out: a `Clip` of tiles each, truth first.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from vidpred.data.clips import read_windows
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.table import EDGES
from vidpred.training.metrics import score
from vidpred.types import to_float

ZOOM = 2
"""How much larger the detail is shown than the whole frame."""


@dataclass(frozen=True)
class Tile:
    """What one model predicted."""

    name: str
    images: list[str]
    """A data URI for each of `Clip.steps`."""
    distances: list[float]
    """PD of each."""
    edges: list[float | None]
    """Contrast of edges of each, as a share of the truth's; None where that has no edges."""


@dataclass(frozen=True)
class ShownClip:
    """One clip, as it was and as all models predict it."""

    source: str
    start: int
    """First frame of the window, counted from the clip's first."""
    steps: list[int]
    """Which of the frames that were asked for are shown, counted from 1."""
    truth: list[str]
    """A data URI for each of these."""
    corner: tuple[float, float]
    """Left and top edge of the detail, in sides of the detail."""
    tiles: list[Tile]


def shown_clips(bench: Bench, predicted: Mapping[str, np.ndarray]) -> list[ShownClip]:
    """The clips of the frozen list's pictures.

    Args:
        bench: With the list.
        predicted: Of each model, in the order of the page: uint8 (K, steps, H, W, 3), as `Scores.shown`.
    """
    task, ahead = bench.data.task, bench.list.ahead
    frames = read_windows(bench.data.shards, bench.list.shown, count=task.context + ahead, interval=task.interval)
    last, truth = (
        (frames[:, 0], frames[:, 1::2]) if task.between else (frames[:, task.context - 1], frames[:, task.context :])
    )
    steps = sorted({1, ahead})
    distances = {name: _measured("perceptual_distance", some, truth) for name, some in predicted.items()}
    contrasts = {name: _measured(EDGES, some, truth) for name, some in predicted.items()}
    crisp = _measured(EDGES, truth, truth)
    clips = []
    for i, window in enumerate(bench.list.shown):
        clip = bench.data.shards.clips[window.clip]
        tiles = [
            Tile(
                name,
                images=[_png(some[i, s - 1]) for s in steps],
                distances=[float(distances[name][i, s - 1]) for s in steps],
                edges=[_share(contrasts[name][i, s - 1], crisp[i, s - 1]) for s in steps],
            )
            for name, some in predicted.items()
        ]
        clips.append(
            ShownClip(
                source=clip.source,
                start=window.start,
                steps=steps,
                truth=[_png(truth[i, s - 1]) for s in steps],
                corner=busiest(last[i], truth[i, 0]),
                tiles=tiles,
            )
        )
    return clips


def busiest(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The part of a frame, `ZOOM` times smaller each way, in which the most changes.

    Args:
        before: uint8 (H, W, 3).
        after: Same shape, the next frame.

    Returns:
        Its left and top edge, in widths and heights of that part: from 0 to `ZOOM` - 1.
    """
    change = np.abs(after.astype(float) - before).sum(axis=2)
    height, width = (max(1, side // ZOOM) for side in change.shape)
    sums = np.pad(change.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return float(left / width), float(top / height)


def _measured(metric: str, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(K, steps) a metric of every frame."""
    mine, other = (to_float(torch.from_numpy(frames)) for frames in (predicted, truth))
    found: np.ndarray = score(mine, other, only=(metric,))[metric].numpy()
    return found


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


def _png(frame: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
