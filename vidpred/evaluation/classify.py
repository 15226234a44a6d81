"""The verdict on a classifier: how often it is right on test, for which classes, how sure that is, and pictures.

In: a model folder, shards, the split. Out: `windows.parquet`, `videos.parquet`, `confusion.csv` and `pictures/` for the
report and the registry, and the figures for `results/evaluate/metrics.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from vidpred.config import Params
from vidpred.data.clips import task_of
from vidpred.data.encode import write_gif
from vidpred.data.shards import Shards
from vidpred.evaluation.classes import MAJORITY, judge_classes
from vidpred.evaluation.confusion import write_confusion
from vidpred.evaluation.pictures import GREEN, bordered, enlarge, spread, write_rows
from vidpred.models.files import load_model
from vidpred.types import Classifier, Task, Window
from vidpred.workspace import fresh_folder

RED = (200, 50, 40)


def evaluate_classes(
    model_folder: Path,
    *,
    shards_folder: Path,
    split: Path,
    by_time: bool,
    out: Path,
    params: Params,
    device: torch.device,
) -> dict[str, Any]:
    """Judges a classifier on the test part and returns the figures. Arguments as of `evaluate.evaluate`.

    Raises:
        UserError: the model is for another task, or no test clip is long enough.
    """
    shards = Shards(shards_folder)
    model, info = load_model(model_folder, Classifier)
    found = judge_classes(model, info, shards=shards, split=split, by_time=by_time, params=params, device=device)
    task = task_of(shards, params.task, split)
    fresh_folder(out)
    found.rows.assign(model=info["name"]).to_parquet(out / "windows.parquet")
    found.videos.assign(model=info["name"]).to_parquet(out / "videos.parquet")
    (out / "pictures").mkdir()
    write_confusion(out / "pictures", found.matrix, task.classes)
    _pictures(out / "pictures", shards, found.windows, found.rows, found.videos, task, most=params.evaluate.pictures)
    return found.figures


def headline_of_classes(figures: dict[str, Any]) -> dict[str, float]:
    """The few figures that a run is compared by."""
    mine, gain = figures["test"][figures["model"]["name"]], figures[f"over_{MAJORITY}"]
    told = {name: mine[name] for name in ("top1", "top5", "cross_entropy") if name in mine}
    told |= {f"top1_{MAJORITY}": figures["test"][MAJORITY]["top1"], "gain": gain["pooled"]}
    if gain["units"] > 1:
        told |= {"gain_at_least": gain["pooled_interval"][0]}
    return {name: round(float(value), 4) for name, value in told.items()}


def _pictures(
    folder: Path, shards: Shards, windows: Sequence[Window], rows: pd.DataFrame, videos: pd.DataFrame, task: Task, *,
    most: int,
) -> None:  # fmt: skip
    """Some videos as GIF and filmstrip: the surest mistakes, in red, and of the others some evenly spaced, in green."""
    names = [f"p{i}" for i in range(len(task.classes))]
    believed = videos[names].max(axis=1)
    wrong = believed[videos["top1"] == 0].sort_values(ascending=False, kind="stable").index[: most // 2].to_list()
    right = videos.index[videos["top1"] == 1].to_list()
    shown = wrong + [right[i] for i in spread(len(right), most - len(wrong))] if right else wrong
    first = rows.drop_duplicates("source").set_index("source")["window"]
    captions = []
    for i, place in enumerate(shown):
        video = videos.loc[place]
        window = windows[int(first[video["source"]])]
        clip = shards.clips[window.clip]
        frames = shards.frames(window.clip, window.start, task.context, task.interval)
        colour = GREEN if video["top1"] else RED
        write_rows(folder / f"{i}.png", bordered(enlarge(frames, 64), colour))
        write_gif(folder / f"{i}.gif", bordered(enlarge(frames), colour), clip.fps / task.interval)
        captions.append(
            {
                "source": clip.source,
                "group": str(video["group"]),
                "start": window.start,
                "label": clip.label,
                "predicted": str(video["predicted"]),
                "believed": round(float(believed[place]), 4),
            }
        )
    (folder / "pictures.json").write_text(json.dumps(captions, indent=2) + "\n")
