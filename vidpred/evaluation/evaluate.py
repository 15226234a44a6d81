"""The verdict on a model: its metrics on test beside baselines and `flow_gate`, how sure they are, and pictures.

In: a model folder, shards, the split. Out: `windows.parquet`, `rollout.parquet` and `pictures/` for the report and
the registry, and the figures for `results/evaluate/metrics.json`.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vidpred.config import Params
from vidpred.data.clips import evaluation_windows, evenly, flow_for, make_batch, read_windows, task_of
from vidpred.data.shards import Shards
from vidpred.data.split import read_groups, read_split
from vidpred.errors import UserError
from vidpred.evaluation.between import between_pictures
from vidpred.evaluation.classes import same_task
from vidpred.evaluation.deciles import by_motion_decile
from vidpred.evaluation.in_print import by_mathieu2015
from vidpred.evaluation.intervals import FLOOR, Gain, beats, paired_difference, paired_gain, why_not
from vidpred.evaluation.pictures import STRIP_STEPS, spread, write_filmstrip, write_pair, write_restored
from vidpred.evaluation.scoring import score_frames, score_model
from vidpred.models import zoo
from vidpred.models.files import load_model
from vidpred.models.predict import flow_gate
from vidpred.models.rollout import rollout
from vidpred.training.figures import BASELINES, FURTHER_UNITS, UNITS, best_baseline, interval_of, verdict
from vidpred.types import Predictor, Segment, Task, Window, to_uint8
from vidpred.workspace import fresh_folder

log = logging.getLogger(__name__)

FLOORS = {"perceptual_distance": FLOOR, "l1": FLOOR / 765, "mse": (FLOOR / 765) ** 2}
"""The distances that gains are told of, and the same small error, a thirtieth of a grey level, in the unit of each."""
FIT_WINDOWS = 64
"""Validation windows that `flow_gate` is fitted on."""

RESTORED = 12
"""Frames, each of another window, that are shown above what an autoencoder gives back of them."""


def metric_columns(rows: pd.DataFrame) -> list[str]:
    """The columns of a table of scores that are metrics, in the order of `UNITS` and `FURTHER_UNITS`."""
    return [name for name in (*UNITS, *FURTHER_UNITS) if name in rows]


def means(rows: pd.DataFrame) -> dict[str, float]:
    """The mean of each metric over the windows that have it; without those that none has."""
    return {str(name): float(mean) for name, mean in rows[metric_columns(rows)].mean().dropna().items()}


def fitted_flow_gate(shards: Shards, split: Path, params: Params, task: Task) -> Predictor:
    """`flow_gate` with its exponent, blur and prior fitted on validation windows."""
    windows = evenly(evaluation_windows(read_split(split, "val"), task=params.task), FIT_WINDOWS)
    frames = read_windows(shards, windows, count=task.context + task.horizon, interval=task.interval)
    step = params.evaluate.batch_size
    batches = [
        make_batch(frames[i : i + step], context=task.context, between=task.between, flow=params.flow)
        for i in range(0, len(frames), step)
    ]
    return zoo.build("flow_gate", asdict(flow_gate.fit(batches, task)), task).eval()


def evaluate(
    model_folder: Path,
    *,
    shards_folder: Path,
    split: Path,
    by_time: bool,
    out: Path,
    params: Params,
    device: torch.device,
) -> dict[str, Any]:
    """Judges a model on the test part and returns the figures.

    Args:
        model_folder: With `model.safetensors` and `model.json`.
        shards_folder: Of frames.
        split: Folder of the split.
        by_time: Whether the split is by time: then stretches of a video are drawn, not whole groups.
        out: Written anew.
        params: All of params.yaml.
        device: Where to compute.

    Raises:
        UserError: the model is for another task, or no test clip is long enough.
    """
    shards = Shards(shards_folder)
    model, info = load_model(model_folder)
    task = task_of(shards, params.task)
    same_task(info["task"], task)
    test = read_split(split, "test")
    windows = evaluation_windows(
        test, task=params.task, per_clip=params.evaluate.windows_per_clip, step=params.evaluate.window_step
    )
    if not windows:
        raise UserError(f"no test clip holds a window of {params.task.span} frames: add clips or shorten task.context")
    models = {
        info["name"]: model,
        **{baseline: zoo.build(baseline, {}, task).eval() for baseline in BASELINES[task.kind]},
        "flow_gate": fitted_flow_gate(shards, split, params, task),
    }
    fresh_folder(out)
    batch_size, crop = params.evaluate.batch_size, params.evaluate.crop
    tables = {}
    for name, one in models.items():
        tables[name] = score_model(
            one, shards, windows, task=task, flow=params.flow, crop=crop, batch_size=batch_size, device=device,
            further=params.evaluate.metrics, groups=read_groups(split),
        )  # fmt: skip
        on = f"{len(windows)} test window{'s' * (len(windows) != 1)}"
        log.info("%s: PD %.2f on %s", name, tables[name]["perceptual_distance"].mean(), on)
    _write(out / "windows.parquet", tables)
    steps, room = _rollout_windows(test, params)
    rolled = {
        name: score_frames(
            one,
            shards,
            room,
            task=task,
            frames=1 if task.between else steps,
            flow=params.flow,
            crop=crop,
            batch_size=batch_size,
            device=device,
        )
        for name, one in models.items()
    }
    curves = {name: rows.groupby("step", as_index=False)[metric_columns(rows)].mean() for name, rows in rolled.items()}
    _write(out / "rollout.parquet", curves)
    of_each_clip = room[: max(params.evaluate.pictures, len({window.clip for window in room}))]
    shown = evenly(of_each_clip, params.evaluate.pictures)
    draw = between_pictures if task.between else _pictures
    draw(out / "pictures", model.to(device), shards, shown, task, steps, params, device)
    _restored(out / "pictures" / "restored.png", model, shards, of_each_clip[:RESTORED], device)
    figures: dict[str, Any] = {
        "model": {
            "name": info["name"],
            "parameters": zoo.parameters(model),
            "operations": zoo.operations(model.cpu(), task),
        },
        "windows": len(windows),
        "split": "time" if by_time else "group",
        "test": {name: means(rows) for name, rows in tables.items()},
        "rollout": {
            "steps": steps,
            "asked": params.evaluate.rollout,
            "windows": len(room),
            "clips": len({window.clip for window in room}),
            "of_clips": len({window.clip for window in windows}),
        },
    } | _gains(tables, info["name"], by_time=by_time)
    by_motion_decile(tables, baseline=figures["baseline"]).to_parquet(out / "deciles.parquet")
    if params.evaluate.protocol is not None:
        figures["protocol"] = by_mathieu2015(
            models, shards, test, task=params.task, flow=params.flow, batch_size=batch_size, device=device
        )
    return figures


def headline(figures: dict[str, Any]) -> dict[str, float]:
    """The few figures that a run is compared by, of all that `evaluate` gives; no gain where nothing moves, and none
    that is sure where one group is all there is."""
    mine, (baseline, gain, _) = figures["test"][figures["model"]["name"]], verdict(figures)
    told = {
        "pd": mine["perceptual_distance"],
        f"pd_{baseline}": figures["test"][baseline]["perceptual_distance"],
        "psnr_db": mine["psnr_db"],
        "ssim": mine["ssim"],
    }
    if not gain["still"]:
        interval = interval_of(gain)
        told |= {"gain": gain["pooled"]} | ({"gain_at_least": interval[0]} if interval else {})
    return {name: round(float(value), 4) for name, value in told.items()}


def _gains(tables: dict[str, pd.DataFrame], name: str, *, by_time: bool) -> dict[str, Any]:
    mine = tables[name]
    blocks = mine["block"] if by_time else None

    def gain(metric: str, baseline: str) -> Gain:
        return paired_gain(mine[metric], tables[baseline][metric], mine["group"], blocks=blocks, floor=FLOORS[metric])

    of_each = {n: means(rows) for n, rows in tables.items()}
    far = {n: found["perceptual_distance"] for n, found in of_each.items() if n != name}
    bar, best = best_baseline(far)[0], min(far, key=far.__getitem__)
    distances = {metric: gain(metric, bar) for metric in FLOORS}
    over_bar, over_best = distances["perceptual_distance"], gain("perceptual_distance", best)
    return {
        "baseline": bar,
        "gains": {
            "pooled": {m: g["pooled"] for m, g in distances.items()},
            "macro": {m: g["macro"] for m, g in distances.items()},
            "psnr_db": of_each[name]["psnr_db"] - of_each[bar]["psnr_db"],
        },
        f"over_{bar}": over_bar,
        "over_flow_gate": gain("perceptual_distance", "flow_gate"),
        "psnr_db": {
            f"over_{other}": paired_difference(mine["psnr_db"], tables[other]["psnr_db"], mine["group"], blocks=blocks)
            for other in (bar, "flow_gate")
        },
        "over_best": {"baseline": best, "beats": beats(over_best), **over_best},
        f"beats_{bar}": beats(over_bar),
        "why_not": why_not(over_bar),
    }


def _rollout_windows(test: Sequence[Segment], params: Params) -> tuple[int, list[Window]]:
    """How far to roll out: as far as at least half of the clips have room for; and from where.

    What lies between two frames is not rolled out: then it is how many such frames are shown one after the other.

    The first window of every clip comes before the second of any, so that a few of them show many clips.
    """
    task, most = params.task, params.evaluate.windows_per_clip

    def windows(steps: int) -> list[Window]:
        frames = 2 * steps + 1 if task.kind == "interpolate" else task.context + steps
        found = evaluation_windows(test, task=task, per_clip=most, frames=frames)
        place: dict[int, int] = defaultdict(int)
        order = []
        for window in found:
            order.append((place[window.clip], window))
            place[window.clip] += 1
        return [window for _, window in sorted(order, key=lambda item: item[0])]

    clips = len({window.clip for window in windows(1)})
    for steps in range(params.evaluate.rollout, 0, -1):
        room = windows(steps)
        if room and len({window.clip for window in room}) * 2 >= clips:
            if steps < params.evaluate.rollout:
                what = "pictures" if task.kind == "interpolate" else "a rollout"
                log.info("half of the test clips have room for %s of %d steps", what, steps)
            return steps, room[: params.evaluate.rollout_windows]
    raise UserError("no test clip has a frame after its context")


def _write(path: Path, tables: dict[str, pd.DataFrame]) -> None:
    pd.concat([rows.assign(model=name) for name, rows in tables.items()], ignore_index=True).to_parquet(path)


@torch.no_grad()
def _pictures(
    folder: Path, model: Predictor, shards: Shards, windows: Sequence[Window], task: Task, steps: int, params: Params,
    device: torch.device,
) -> None:  # fmt: skip
    folder.mkdir()
    captions = []
    for i, window in enumerate(windows):
        frames = read_windows(shards, [window], count=task.context + steps, interval=task.interval)
        batch = make_batch(frames, context=task.context, device=device)
        output = rollout(model, batch.context, steps, flow=flow_for(batch, params.flow), clamp=True)
        predicted, expected = _seen(output.frames[0]), model.primed(batch.context)
        primed = None if expected is None else _seen(expected[0])
        context, truth = frames[0, : task.context], frames[0, task.context :]
        clip = shards.clips[window.clip]
        few = spread(steps, STRIP_STEPS)
        write_filmstrip(folder / f"{i}.png", context, truth[few], predicted[few], primed=primed)
        write_pair(folder / f"{i}.gif", context, truth, predicted, fps=clip.fps / task.interval, primed=primed)
        captions.append({"source": clip.source, "group": clip.group, "start": window.start, "steps": steps})
    (folder / "pictures.json").write_text(json.dumps(captions, indent=2) + "\n")


@torch.no_grad()
def _restored(path: Path, model: Predictor, shards: Shards, windows: Sequence[Window], device: torch.device) -> None:
    """The first frame of each window above what the model's last stage that gives frames back makes of it, if any."""
    frames = read_windows(shards, windows, count=1)
    seen = make_batch(frames, context=1, device=device).context
    found = next((r for stage in reversed(model.stages) if (r := model.restored(stage, seen)) is not None), None)
    if found is not None:
        write_restored(path, frames[:, 0], _seen(found[:, 0]))


def _seen(frames: Tensor) -> np.ndarray:
    """(N, C, H, W) on any device as a user gets them: uint8 (N, H, W, C)."""
    shown: np.ndarray = to_uint8(frames).movedim(1, -1).cpu().numpy()
    return shown
