"""How good the averaged weights are on validation windows, beside the baselines of the task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from vidpred.data.clips import flow_for, read_windows
from vidpred.models.rollout import rollout
from vidpred.training import pace
from vidpred.training.baselines import baseline_frames
from vidpred.training.data import Data
from vidpred.training.figures import BASELINES, NOTHING_MOVES, STILL, best_baseline, gain_in_words, relative_gain
from vidpred.training.losses import GIVEN
from vidpred.training.metrics import score
from vidpred.training.peers import Peers, averaged
from vidpred.training.stages import JOINT, Stage
from vidpred.types import Batch, Predictor

log = logging.getLogger(__name__)

Row = dict[str, float]
"""What one validation found: step, loss, val_perceptual_distance, …; val_gain only where something moves."""

WATCHED = ("perceptual_distance", "psnr_db")
"""Metrics that validation computes."""
BATCH = 32
"""Windows predicted at once."""
SAME = 1e-4
"""A share of the best baseline's PD: a model that is no farther from it has learned no more."""
PATIENCE = 3
"""Validations that may find nothing but a baseline before it is told: most models begin as one."""


@torch.no_grad()
def validate(
    model: Predictor,
    data: Data,
    stage: Stage,
    *,
    batch_of: Callable[[np.ndarray], Batch],
    dtype: torch.dtype,
    baselines: Mapping[str, float],
    peers: Peers,
) -> Row:
    """Scores weights; in a stage that restores frames also how well it does.

    Args:
        model: In eval mode.
        data: Whose validation windows are taken.
        stage: That the run is in.
        batch_of: From uint8 frames (B, T + horizon, H, W, C) to what the model sees.
        dtype: Of autocast.
        baselines: The perceptual distance of each baseline on these windows; empty: they are computed.
        peers: Workers who share the windows.
    """
    distance = psnr = restored = 0.0
    task = data.task
    known = dict.fromkeys(BASELINES[task.kind], 0.0)
    mine = data.val[peers.rank :: peers.size]
    for start in range(0, len(mine), BATCH):
        windows = mine[start : start + BATCH]
        frames = read_windows(data.shards, windows, count=task.context + task.horizon, interval=task.interval)
        batch = batch_of(frames)
        with torch.autocast(batch.target.device.type, dtype=dtype, enabled=dtype != torch.float32):
            follow = flow_for(batch, data.flow)
            output = rollout(model, batch.context, task.horizon, flow=follow, clamp=True)
        found = score(output.frames, batch.target, only=WATCHED)
        distance += float(found["perceptual_distance"].mean(dim=1).sum())
        psnr += float(found["psnr_db"].mean(dim=1).sum())
        if not baselines:
            for name, shown in baseline_frames(batch, task.kind).items():
                known[name] += float(score(shown, batch.target, only=WATCHED)["perceptual_distance"].mean(dim=1).sum())
        restored += _restored(model, stage, batch, dtype)
    distance, psnr, restored, count, *sums = averaged(peers, distance, psnr, restored, len(mine), *known.values())
    if not baselines:
        baselines = {name: total / count for name, total in zip(known, sums, strict=True)}
    distance /= count
    gain = relative_gain(distance, best_baseline(baselines)[1])
    return {
        "val_perceptual_distance": distance,
        **{f"val_{name}": value for name, value in baselines.items()},
        **({} if gain is None else {"val_gain": gain}),
        "val_psnr_db": psnr / count,
        **({"val_restored_psnr_db": restored / count} if restored else {}),
    }


def _restored(model: Predictor, stage: Stage, batch: Batch, dtype: torch.dtype) -> float:
    """PSNR of the frames that a stage gives back, summed over windows; 0 where it gives none back."""
    if stage.name == JOINT:
        return 0.0
    frames = torch.cat((batch.context, batch.target), dim=1)
    with torch.autocast(frames.device.type, dtype=dtype, enabled=dtype != torch.float32):
        found = model.restored(stage.name, frames)
    return 0.0 if found is None else float(score(found, frames, only=("psnr_db",))["psnr_db"].mean(dim=1).sum())


def in_words(row: Row) -> str:
    """`PD 12.34 (copy_last 34.17, gain +63.9 %)`, and how well frames are restored where they are."""
    gain = f"gain {gain_in_words(row['val_gain'])}" if "val_gain" in row else NOTHING_MOVES
    name, distance = best_baseline(row, prefix="val_")
    told = f"PD {row['val_perceptual_distance']:.2f} ({name} {distance:.2f}, {gain})"
    if "val_restored_psnr_db" in row:
        told += f", frames restored at {row['val_restored_psnr_db']:.1f} dB"
    return told


def tell(row: Row, speed: Row, *, stage: Stage, judged: Sequence[Row]) -> None:
    """A line in the log; and a warning where the model has learned nothing.

    Args:
        row: Of this validation.
        speed: As `Pace.figures`.
        stage: That it was in.
        judged: All validations of the last stage.
    """
    named = "" if stage.name == JOINT else f" ({stage.name})"
    losses = ", ".join(f"{name} {row[name]:.4f}" for name in ("loss", *GIVEN, "discriminator") if name in row)
    log.info("step %d%s: %s, validation %s, %s", row["step"], named, losses, in_words(row), pace.in_words(speed))
    if collapsed(judged):
        log.warning(
            "%d validations in a row found what %s gives: the model has learned no more. Raise "
            "train.learning_rate, or see docs/training.md",
            PATIENCE, best_baseline(row, prefix="val_")[0],
        )  # fmt: skip


def collapsed(rows: Sequence[Row]) -> bool:
    """Whether the last few validations, and no more, found what the best baseline gives."""
    copies = [_copies(row) for row in rows[-PATIENCE - 1 :]]
    return len(rows) >= PATIENCE and all(copies[-PATIENCE:]) and not (len(copies) > PATIENCE and copies[0])


def _copies(row: Row) -> bool:
    _, copied = best_baseline(row, prefix="val_")
    return copied >= STILL and abs(row["val_perceptual_distance"] - copied) <= SAME * copied


def worse_for(rows: Sequence[Row], rank: Callable[[Row], tuple[float, ...]]) -> int:
    """Validations since the best one, by what they are judged by."""
    found = [rank(row) for row in rows]
    return len(rows) - 1 - found.index(min(found)) if rows else 0
