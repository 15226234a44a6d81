"""Anybody's model on this project's test clips, as the gate wants it: with its figures, its bar and its gain.

In: a model's folder with `seen.json`, and what the project has. Out: a `Bench`. A model that was trained on the clips
that are to judge it is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from vidpred.config import Params
from vidpred.data.clips import evaluation_windows, task_of
from vidpred.data.shards import Shards
from vidpred.data.split import read_groups, read_split
from vidpred.errors import UserError
from vidpred.evaluation.classes import judge_classes
from vidpred.evaluation.evaluate import means
from vidpred.evaluation.intervals import beats, paired_gain, why_not
from vidpred.evaluation.scoring import score_model
from vidpred.models import zoo
from vidpred.models.files import load_model
from vidpred.tracking.gate import Bench, has_seen, other_task, read_seen
from vidpred.tracking.measure import PD
from vidpred.training.figures import BASELINES, best_baseline
from vidpred.types import Classifier, Model, Predictor, Task

log = logging.getLogger(__name__)


def judge_on(
    shards: Shards, split: Path, *, by_time: bool, params: Params, device: torch.device
) -> Callable[[Path], Bench]:
    """What scores a model's folder on the test part of a split.

    Args:
        shards: The frames.
        split: Folder of the split.
        by_time: Whether the split is by time.
        params: Of the project.
        device: Where to compute.
    """

    def judge(folder: Path) -> Bench:
        model, info = load_model(folder, Model)
        task = task_of(shards, params.task, split)
        ours = {"task": _as_json(task), "fps": shards.fps, "fit": shards.meta["parameters"].get("fit", "crop")}
        theirs = {"fps": ours["fps"], "fit": ours["fit"]} | {k: info[k] for k in ("fps", "fit") if k in info}
        theirs["task"] = ours["task"] | info["task"]
        if differs := other_task(theirs, ours):
            raise UserError(f"it is for another task than this project, {differs}")
        if isinstance(model, Classifier):
            found = judge_classes(
                model, info, shards=shards, split=split, by_time=by_time, params=params, device=device
            )
            rows, metrics = found.rows, found.figures
        else:
            assert isinstance(model, Predictor)
            rows, metrics = _predicted(model, info, task, shards, split, by_time=by_time, params=params, device=device)
        bench = Bench(
            info=info,
            metrics=metrics,
            windows=rows,
            shards=shards,
            split=split,
            flow=params.flow,
            batch_size=params.evaluate.batch_size,
            crop=params.evaluate.crop,
            device=device,
        )
        if known := has_seen(read_seen(folder), bench):
            raise UserError(f"it was trained on {known}")
        return bench

    return judge


def _as_json(task: Task) -> dict[str, Any]:
    """As model.json has it."""
    told = asdict(task) | {"classes": list(task.classes)}
    return told if task.classes else {key: value for key, value in told.items() if key != "classes"}


def _predicted(
    model: Predictor,
    info: Mapping[str, Any],
    task: Task,
    shards: Shards,
    split: Path,
    *,
    by_time: bool,
    params: Params,
    device: torch.device,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A predictor's rows of test windows, and what metrics.json would say of it."""
    windows = evaluation_windows(
        read_split(split, "test"),
        task=params.task,
        per_clip=params.evaluate.windows_per_clip,
        step=params.evaluate.window_step,
    )
    if not windows:
        raise UserError(f"no test clip holds a window of {params.task.span} frames")
    models = {str(info["name"]): model}
    models |= {name: zoo.build(name, {}, task).eval() for name in BASELINES[task.kind] if name not in models}
    tables = {
        name: score_model(
            one, shards, windows, task=task, flow=params.flow, crop=params.evaluate.crop,
            batch_size=params.evaluate.batch_size, device=device, groups=read_groups(split),
        )
        for name, one in models.items()
    }  # fmt: skip
    mine = tables[info["name"]]
    far = {name: float(tables[name][PD].mean()) for name in BASELINES[task.kind]}
    bar = best_baseline(far)[0]
    gain = paired_gain(mine[PD], tables[bar][PD], mine["group"], blocks=mine["block"] if by_time else None)
    log.info("%s: PD %.2f on %d test windows, %s %.2f", info["name"], mine[PD].mean(), len(mine), bar, far[bar])
    return mine, {
        "baseline": bar,
        "split": "time" if by_time else "group",
        "test": {name: means(rows) for name, rows in tables.items()},
        f"over_{bar}": gain,
        f"beats_{bar}": beats(gain),
        "why_not": why_not(gain),
    }
