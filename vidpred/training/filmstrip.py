"""The filmstrip of learning: the same validation windows, predicted after every validation of a run.

In: a trainer that has just validated. Out, in the folder `filmstrip` of the run, so that a resumed run has them all:

    seen.png        the last frame of each window's context, side by side
    00000300.png    what the averaged weights of that step predict from it: the last frame of the horizon
    truth.png       what really happened
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vidpred.data.clips import evenly, flow_for, make_batch, read_windows
from vidpred.models.rollout import rollout
from vidpred.training.loop import Trainer
from vidpred.types import Predictor, to_uint8
from vidpred.workspace import atomic

CLIPS = 15
"""Windows, evenly spaced over those that are validated on."""
ROWS = 12
"""Validations that are kept beside a model at the most: the best one, the first, the last, and some between."""
FOLDER = "filmstrip"
GAP = 2
"""Grey pixels between two frames."""

_STEP = re.compile(r"\d{8}\.png")


@torch.no_grad()
def add_row(trainer: Trainer) -> None:
    """Predicts the windows with the averaged weights as they are now, in float32, and writes the picture; nothing where
    the model does not predict."""
    model, data, task = trainer.average, trainer.data, trainer.data.task
    if not isinstance(model, Predictor):
        return
    windows = evenly(data.val, CLIPS)
    frames = read_windows(data.shards, windows, count=task.context + task.horizon, interval=task.interval)
    batch = make_batch(
        frames,
        context=task.context,
        between=task.between,
        device=trainer.device,
        flow=data.flow if model.needs_flow else None,
    )
    output = rollout(model, batch.context, task.horizon, flow=flow_for(batch, data.flow), clamp=True)
    folder = trainer.folder / FOLDER
    folder.mkdir(exist_ok=True)
    _write(folder / f"{trainer.step:08d}.png", output.frames[:, -1])
    for name, shown in (("seen", batch.context), ("truth", batch.target)):
        if not (folder / f"{name}.png").exists():
            _write(folder / f"{name}.png", shown[:, -1])


def copy_rows(trainer: Trainer, out: Path) -> None:
    """Copies the pictures of a finished run to a folder that is made, of at most `ROWS` validations and the best one.

    Nothing is made where the run kept none.
    """
    source = trainer.folder / FOLDER
    judged = {int(row["step"]) for row in trainer.rows}  # a run that was killed may have drawn more
    steps = sorted(judged & {int(path.stem) for path in source.glob("*.png") if _STEP.fullmatch(path.name)})
    if not steps:
        return
    places = np.linspace(0, len(steps) - 1, min(ROWS, len(steps))).round().astype(int)
    kept = {steps[place] for place in places} | ({int(trainer.best["step"])} & set(steps))
    out.mkdir(parents=True)
    for name in ("seen", *(f"{step:08d}" for step in sorted(kept)), "truth"):
        shutil.copyfile(source / f"{name}.png", out / f"{name}.png")


def _write(path: Path, frames: Tensor) -> None:
    """Frames (B, C, H, W) side by side as a PNG."""
    tiles = to_uint8(frames).movedim(1, -1).cpu().numpy()
    count, height, width, channels = tiles.shape
    row = np.full((height, count * (width + GAP) - GAP, channels), 128, np.uint8)
    for place, tile in enumerate(tiles):
        row[:, place * (width + GAP) :][:, :width] = tile
    with atomic(path) as part:
        Image.fromarray(row).save(part, "PNG")
