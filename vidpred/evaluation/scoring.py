"""Every metric of a model on a fixed list of windows: one row a window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import pandas as pd
import torch
from torch import Tensor

from vidpred.config import FlowParams
from vidpred.data.clips import flow_for, make_batch, read_windows
from vidpred.data.shards import Shards
from vidpred.models.rollout import rollout
from vidpred.training.figures import UNITS
from vidpred.training.metrics import score
from vidpred.types import Predictor, Task, Window

BLOCK_SECONDS = 2.0
"""A stretch of a video of at least so long is a block, a shorter rest belongs to the one before: windows of one block
are not independent."""
_FRAMES_AT_ONCE = 512


def blocks_of(shards: Shards, windows: Sequence[Window], *, frames: int) -> list[str]:
    """The name of each window's block, counted from the first window of its clip.

    Args:
        shards: Where the windows are read.
        windows: All that are scored.
        frames: Frames of the shard from a window's first to its last, both counted.
    """
    starts: dict[int, list[int]] = defaultdict(list)
    for window in windows:
        starts[window.clip].append(window.start)
    names = []
    for window in windows:
        clip, first, last = shards.clips[window.clip], min(starts[window.clip]), max(starts[window.clip])
        count = max(1, int((last - first + frames) / clip.fps // BLOCK_SECONDS))
        names.append(f"{clip.id}@{min(int((window.start - first) / clip.fps // BLOCK_SECONDS), count - 1)}")
    return names


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
    further: Collection[str] = (),
    groups: Sequence[str] | None = None,
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
        further: Names of `FURTHER_UNITS` to compute beside `UNITS`.
        groups: Of each row of the index, near-duplicates joined (`read_groups`); None: the clips' own.

    Returns:
        A row for each window and step: `window` (its place in the list), `clip`, `start`, `group`, `block` (windows
        of one block are not independent), `step` (from 1), and a column a metric; NaN where a frame has none.

    Raises:
        UserError: frames are too small for a metric, or `lpips` is asked for and not there.
    """
    model = model.to(device).eval()
    parts: list[pd.DataFrame] = []
    blocks = blocks_of(shards, windows, frames=(task.context + frames - 1) * task.interval + 1)
    for first in range(0, len(windows), batch_size):
        some = windows[first : first + batch_size]
        raw = read_windows(shards, some, count=task.context + frames, interval=task.interval)
        batch = make_batch(raw, context=task.context, between=task.between, device=device)
        predicted = rollout(model, batch.context, frames, flow=flow_for(batch, flow), clamp=True).frames
        found = _scored(
            _middle(predicted, crop),
            _middle(batch.target, crop),
            last=_middle(batch.context[:, -1], crop),
            further=further,
        )
        clips = [shards.clips[w.clip] for w in some]
        rows = pd.DataFrame(
            {
                "window": range(first, first + len(some)),
                "clip": [c.id for c in clips],
                "start": [w.start for w in some],
                "group": [c.group for c in clips] if groups is None else [groups[w.clip] for w in some],
                "block": blocks[first : first + len(some)],
            }
        )
        steps = [
            rows.assign(step=i + 1, **{name: values[:, i].cpu().numpy() for name, values in found.items()})
            for i in range(frames)
        ]
        parts.append(pd.concat(steps))
    return pd.concat(parts).sort_values(["window", "step"], ignore_index=True)


def _scored(predicted: Tensor, target: Tensor, *, last: Tensor, further: Collection[str]) -> dict[str, Tensor]:
    """Scores of each frame, (B, N); of few frames at a time, as the maps of SSIM are some ten times as large."""
    some = max(1, _FRAMES_AT_ONCE // len(target))
    parts = [
        score(p, y, only=[*UNITS, *further], last=last)
        for p, y in zip(predicted.split(some, dim=1), target.split(some, dim=1), strict=True)
    ]
    return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}


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
    further: Collection[str] = (),
    groups: Sequence[str] | None = None,
) -> pd.DataFrame:
    """As `score_frames` for the task's horizon, averaged over the frames that have a score: one row a window."""
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
        further=further,
        groups=groups,
    )
    keys = ["window", "clip", "start", "group", "block"]
    return rows.drop(columns="step").groupby(keys, sort=False, as_index=False).mean()


def _middle(frames: Tensor, side: int | None) -> Tensor:
    """The middle square of (..., H, W)."""
    if side is None:
        return frames
    top, left = (frames.shape[-2] - side) // 2, (frames.shape[-1] - side) // 2
    return frames[..., top : top + side, left : left + side]
