"""What a classifier believes of test videos, and how often it is right: scores and figures, no files.

In: a model, shards, the split. Out: a table of windows and of videos, and what metrics.json holds. A video is judged as
a whole: what the model believes of several windows, evenly spaced over it, is averaged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from vidpred.config import FlowParams, Params
from vidpred.data.clips import evaluation_windows, make_batch, read_windows, task_of
from vidpred.data.shards import Shards
from vidpred.data.split import read_groups, read_split
from vidpred.errors import UserError
from vidpred.evaluation.confusion import confusion_of, per_class
from vidpred.evaluation.intervals import as_gain, beats, paired_difference, why_not
from vidpred.models import zoo
from vidpred.training.classes import TOP
from vidpred.types import Classifier, Segment, Task, Window

log = logging.getLogger(__name__)

MAJORITY = "majority"
"""What always says the class that is commonest in training."""
_LEAST = 1e-9
"""Believed of a class at the least, so that the cross-entropy of one that was ruled out is a number."""


@torch.no_grad()
def score_windows(
    model: Classifier,
    shards: Shards,
    windows: Sequence[Window],
    *,
    task: Task,
    flow: FlowParams,
    groups: Sequence[str] | None = None,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """What a classifier believes of each window, in float32.

    Args:
        model: In eval mode.
        shards: Where the windows are read.
        windows: To be scored.
        task: Decides context, interval and classes.
        flow: How optical flow is computed, for models that need it.
        groups: Of each row of the index, near-duplicates joined (`read_groups`); None: the clips' own.
        batch_size: Windows scored at once.
        device: Where to compute.

    Returns:
        A row a window: `window` (its place in the list), `clip`, `start`, `source`, `group`, `label`, and `p0`, `p1` …,
        what it believes of each class: they add up to 1.

    Raises:
        UserError: scores are not finite.
    """
    model = model.to(device).eval()
    believed: list[NDArray[np.float32]] = []
    for first in range(0, len(windows), batch_size):
        frames = read_windows(shards, windows[first : first + batch_size], count=task.context, interval=task.interval)
        batch = make_batch(frames, context=task.context, device=device, flow=flow if model.needs_flow else None)
        logits = model(batch.context, batch.flow).logits.float()
        believed.append(logits.softmax(dim=1).cpu().numpy())
    scores = np.concatenate(believed)
    if not np.isfinite(scores).all():
        raise UserError("the model's scores are not finite: train it again with a lower train.learning_rate")
    clips = [shards.clips[window.clip] for window in windows]
    rows = pd.DataFrame(
        {
            "window": range(len(windows)),
            "clip": [clip.id for clip in clips],
            "start": [window.start for window in windows],
            "source": [clip.source for clip in clips],
            "group": [clip.group for clip in clips] if groups is None else [groups[w.clip] for w in windows],
            "label": [clip.label for clip in clips],
        }
    )
    return rows.join(pd.DataFrame(scores, columns=[f"p{i}" for i in range(scores.shape[1])]))


def by_video(rows: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """What is believed of each video: the mean over its windows.

    Args:
        rows: As `score_windows`.
        classes: In the order of the scores.

    Returns:
        A row a video, in the order of their first windows: `source`, `group`, `label`, `windows`, the scores,
        `predicted`, `top1` and `top5` (1 or 0) and `cross_entropy`.
    """
    names = [f"p{i}" for i in range(len(classes))]
    keys = ["source", "group", "label"]
    grouped = rows.groupby(keys, sort=False)
    videos = grouped[names].mean().join(grouped.size().rename("windows")).reset_index()
    return videos.assign(**judged(videos[names].to_numpy(np.float64), videos["label"].to_list(), classes))


def judged(scores: NDArray[np.float64], labels: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """`predicted`, `top1`, `top5` and `cross_entropy` of scores (N, classes) that add up to 1."""
    number = {name: i for i, name in enumerate(classes)}
    true = scores[np.arange(len(scores)), [number[label] for label in labels]]
    rank = (scores >= true[:, None]).sum(axis=1) - 1
    return {
        "predicted": [classes[i] for i in scores.argmax(axis=1)],
        "top1": (rank == 0).astype(float),
        "top5": (rank < TOP).astype(float),
        "cross_entropy": -np.log(np.maximum(true, _LEAST)),
    }


class Verdict(NamedTuple):
    """On a classifier."""

    windows: list[Window]
    """Of the test part."""
    rows: pd.DataFrame
    """As `score_windows`: what it believes of each."""
    videos: pd.DataFrame
    """As `by_video`, with `majority_top1`."""
    matrix: NDArray[np.int64]
    """As `confusion_of`."""
    figures: dict[str, Any]
    """What `results/evaluate/metrics.json` holds."""


def judge_classes(
    model: Classifier,
    info: Mapping[str, Any],
    *,
    shards: Shards,
    split: Path,
    by_time: bool,
    params: Params,
    device: torch.device,
) -> Verdict:
    """Judges a classifier on the test part.

    Args:
        model: To be judged.
        info: Its model.json.
        shards: The frames.
        split: Folder of the split.
        by_time: Whether it is by time.
        params: Of the project.
        device: Where to compute.

    Raises:
        UserError: the model is for another task, or no test clip is long enough.
    """
    task = task_of(shards, params.task, split)
    same_task(info["task"], task)
    windows = evaluation_windows(
        read_split(split, "test"),
        task=params.task,
        per_clip=params.evaluate.windows_per_clip,
        step=params.evaluate.window_step,
    )
    if not windows:
        raise UserError(f"no test clip holds a window of {params.task.span} frames: add clips or shorten task.context")
    rows = score_windows(
        model, shards, windows, task=task, flow=params.flow, groups=read_groups(split),
        batch_size=params.evaluate.batch_size, device=device,
    )  # fmt: skip
    videos = by_video(rows, task.classes)
    train = read_split(split, "train")
    said = commonest_scores(shards, train, task.classes)
    common = commonest_of(shards, train, videos, task.classes)
    matrix = confusion_of(videos["label"].to_list(), videos["predicted"].to_list(), task.classes)
    gain = as_gain(paired_difference(videos["top1"], common["top1"], videos["group"]))
    of_windows = judged(
        rows[[f"p{i}" for i in range(len(task.classes))]].to_numpy(np.float64), rows["label"].to_list(), task.classes
    )
    tops = ("top1", "top5", "cross_entropy") if len(task.classes) > TOP else ("top1", "cross_entropy")
    mine = {name: float(videos[name].mean()) for name in tops}
    log.info(
        "%s: top-1 %.1f %% of %d test videos, %s %.1f %%",
        info["name"], 100 * mine["top1"], len(videos), MAJORITY, 100 * common["top1"].mean(),
    )  # fmt: skip
    figures = {
        "kind": "classify",
        "model": {
            "name": info["name"],
            "parameters": zoo.parameters(model),
            "operations": zoo.operations(model.cpu(), task),
        },
        "classes": list(task.classes),
        "commonest": task.classes[int(said.argmax())],
        "videos": len(videos),
        "windows": len(rows),
        "split": "time" if by_time else "group",
        "test": {
            info["name"]: mine | {"top1_of_a_window": float(of_windows["top1"].mean())},
            MAJORITY: {name: float(np.mean(common[name])) for name in tops},
        },
        "top1_interval": _interval(videos),
        "baseline": MAJORITY,
        f"over_{MAJORITY}": gain,
        f"beats_{MAJORITY}": beats(gain),
        "why_not": why_not(gain, unit="points"),
        "classes_of_test": per_class(matrix, task.classes),
    }
    return Verdict(windows, rows, videos.assign(majority_top1=common["top1"]), matrix, figures)


def same_task(trained: dict[str, Any], asked: Task) -> None:
    """Makes sure that a model was trained for what it is judged by.

    Raises:
        UserError: it was not.
    """
    wrong = [
        f"{name} {trained.get(name, 'predict')} (params.yaml and shards: {getattr(asked, name)})"
        for name in ("kind", "context", "horizon", "interval", "height", "width")
        if trained.get(name, "predict") != getattr(asked, name)  # models had no kind when all predicted
    ]
    if tuple(trained.get("classes", ())) != asked.classes:
        wrong.append("other classes")
    if wrong:
        raise UserError(f"the model is for another task: {', '.join(wrong)}; train it again with `dvc repro`")


def commonest_scores(shards: Shards, train: Sequence[Segment], classes: Sequence[str]) -> NDArray[np.float64]:
    """What the baseline believes of every clip: (classes,), how common each is in training. Of classes that are equally
    common it says the first."""
    labels = [shards.clips[segment.clip].label for segment in train]
    shares = np.array([labels.count(name) / len(labels) for name in classes])
    return np.asarray(shares - 1e-12 * np.arange(len(shares)))  # `judged` takes ties for wrong


def commonest_of(
    shards: Shards, train: Sequence[Segment], videos: pd.DataFrame, classes: Sequence[str]
) -> pd.DataFrame:
    """The same videos (`source`, `group`, `label`) as the baseline judges them: `predicted`, `top1`, `top5` and
    `cross_entropy`."""
    said = np.tile(commonest_scores(shards, train, classes), (len(videos), 1))
    return videos[["source", "group", "label"]].assign(**judged(said, videos["label"].to_list(), classes))


def _interval(videos: pd.DataFrame) -> list[float] | None:
    """95 % of top-1, by a bootstrap over groups; None where one group is all there is."""
    found = paired_difference(videos["top1"], np.zeros(len(videos)), videos["group"])
    return found["pooled_interval"] if found["units"] > 1 else None
