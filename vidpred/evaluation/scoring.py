"""Every metric of a model on a fixed list of windows: one row a window."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from vidpred.config import FlowParams
from vidpred.data.clips import flow_of, make_batch, read_windows
from vidpred.data.shards import Shards
from vidpred.models.rollout import rollout
from vidpred.training.metrics import score
from vidpred.types import Predictor, Task, Window

BLOCK_SECONDS = 2.0
"""Windows of one video that begin within so long of each other are not independent."""


@torch.no_grad()
def score_frames(
    model: Predictor,
    shards: Shards,
    windows: Sequence[Window],
    *,
    task: Task,
    frames: int,
    flow: FlowParams,
    crop: int | None = None,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Scores each of the frames predicted for each window, in float32, clamped and rounded to 8 bits.

    Args:
        model: In eval mode; predicts further frames from its own.
        shards: Where the windows are read.
        windows: Each with room for the context and `frames` more.
        task: Decides context and interval.
        frames: Frames to predict.
        flow: How optical flow is computed, for models that need it.
        crop: Side of the middle square that is scored, in pixels; None: all of the frame. Models see it whole.
        batch_size: Windows predicted at once.
        device: Where to compute.

    Returns:
        A row for each window and step: `window` (its place in the list), `clip`, `start`, `group`, `block` (windows
        of one block are not independent), `step` (from 1), and a column a metric.
    """
    model = model.to(device).eval()
    parts: list[pd.DataFrame] = []
    for first in range(0, len(windows), batch_size):
        some = windows[first : first + batch_size]
        raw = read_windows(shards, some, count=task.context + frames, interval=task.interval)
        batch = make_batch(raw, context=task.context, device=device)
        predicted = rollout(model, batch.context, frames, flow=lambda c: flow_of(c, flow), clamp=True).frames
        found = score(_middle(predicted, crop), _middle(batch.target, crop))
        clips = [shards.clips[w.clip] for w in some]
        rows = pd.DataFrame(
            {
                "window": range(first, first + len(some)),
                "clip": [c.id for c in clips],
                "start": [w.start for w in some],
                "group": [c.group for c in clips],
                "block": [f"{c.id}@{int(w.start / c.fps // BLOCK_SECONDS)}" for c, w in zip(clips, some, strict=True)],
            }
        )
        steps = [
            rows.assign(step=i + 1, **{name: values[:, i].cpu().numpy() for name, values in found.items()})
            for i in range(frames)
        ]
        parts.append(pd.concat(steps))
    return pd.concat(parts).sort_values(["window", "step"], ignore_index=True)


def score_model(
    model: Predictor,
    shards: Shards,
    windows: Sequence[Window],
    *,
    task: Task,
    flow: FlowParams,
    crop: int | None = None,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """As `score_frames` for the task's horizon, averaged over its frames: one row a window."""
    rows = score_frames(
        model,
        shards,
        windows,
        task=task,
        frames=task.horizon,
        flow=flow,
        crop=crop,
        batch_size=batch_size,
        device=device,
    )
    keys = ["window", "clip", "start", "group", "block"]
    return rows.drop(columns="step").groupby(keys, sort=False, as_index=False).mean()


def _middle(frames: Tensor, side: int | None) -> Tensor:
    """The middle square of (..., H, W)."""
    if side is None:
        return frames
    top, left = (frames.shape[-2] - side) // 2, (frames.shape[-1] - side) // 2
    return frames[..., top : top + side, left : left + side]
