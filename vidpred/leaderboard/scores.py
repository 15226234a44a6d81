"""One model judged on the frozen list: every metric of every window, how fast it predicts, and what it predicts.

In: a model and what it is known by. Out: `VIDPRED_HOME/leaderboard/scores/<key>` with `windows.parquet` (a row a
window), `shown.npy` (frames predicted for the pictures) and `figures.json`. CPUs score on one thread, so that the same
weights give the same figures whoever asks.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from vidpred.data.clips import flow_for, make_batch, read_windows
from vidpred.evaluation.classes import by_video, commonest_scores, score_windows
from vidpred.evaluation.evaluate import fitted_flow_gate
from vidpred.evaluation.scoring import score_model
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.sources import code_digest
from vidpred.models import zoo
from vidpred.models.files import load_model
from vidpred.models.rollout import rollout
from vidpred.types import Classifier, Model, Predictor, Window, to_uint8
from vidpred.workspace import digest, write_json

_ROUNDS = 3
"""Timings of a prediction; the fastest counts, as whatever else the machine does only slows it down."""


@dataclass(frozen=True)
class Judgement:
    """A model to be judged: a model folder, or a model of the zoo that is not trained."""

    name: str
    """Of the row."""
    seed: int = 0
    folder: str = ""
    """Empty: the model of this name, as it is built or fitted on validation."""
    again: bool = False
    """Whether to judge it also where that has been done."""

    def __str__(self) -> str:
        return f"{self.name}{f', seed {self.seed}' if self.folder else ''} on test"


@dataclass(frozen=True)
class Scores:
    """What was found."""

    windows: pd.DataFrame
    """A row a window, as `score_model` gives it; of a classifier a row a video, as `by_video` does."""
    shown: np.ndarray
    """uint8 (K, steps, H, W, 3): what was predicted for the windows of the pictures."""
    figures: dict[str, Any]
    """`parameters`, `operations`, `clips_per_second`."""


def judge(bench: Bench, judgement: Judgement) -> dict[str, Any]:
    """Judges a model, unless that is done.

    Returns:
        {"score": the key of what was found, "weights_sha256": of the model, where it has weights}

    Raises:
        UserError: the model cannot be loaded, or cannot do the task.
    """
    torch.set_num_threads(1)
    if bench.plan.classify and not judgement.folder:
        return _commonest(bench, judgement.name)
    if judgement.folder:
        model, info = load_model(Path(judgement.folder), Classifier if bench.plan.classify else Predictor)
        known = {name: info[name] for name in ("name", "config", "task", "weights_sha256")}
    else:
        model, known = _untrained(bench, judgement.name), {"name": judgement.name}
    folder = bench.plan.folder / "scores" / _key(bench, known, model)
    if judgement.again or not folder.is_dir():
        _write(folder, _score(bench, model))
    return {"score": folder.name, "weights_sha256": known.get("weights_sha256", "")}


def _commonest(bench: Bench, name: str) -> dict[str, Any]:
    """The baseline of classifiers: always the class that most training clips are of."""
    task, shards = bench.data.task, bench.data.shards
    parts = {"model": name, "list": bench.list.id, "fitted_on": bench.training_id}
    folder = bench.plan.folder / "scores" / digest(parts | {"code": code_digest("vidpred.evaluation.classes")})[:16]
    if not folder.is_dir():
        clips = [shards.clips[window.clip] for window in bench.list.windows]
        joined = bench.list.groups
        groups = [c.group if joined is None else joined[w.clip] for c, w in zip(clips, bench.list.windows, strict=True)]
        said = commonest_scores(shards, bench.data.train, task.classes)
        rows = pd.DataFrame(
            {"source": [c.source for c in clips], "group": groups, "label": [c.label for c in clips]}
        ).join(pd.DataFrame(np.tile(said, (len(clips), 1)), columns=[f"p{i}" for i in range(len(said))]))
        figures = {"parameters": 0, "operations": 0, "clips_per_second": None, "task": asdict(task)}
        _write(folder, Scores(by_video(rows, task.classes), np.empty((0,), np.uint8), figures))
    return {"score": folder.name, "weights_sha256": ""}


def read_scores(folder: Path) -> Scores:
    """What `judge` left in a folder."""
    return Scores(
        windows=pd.read_parquet(folder / "windows.parquet"),
        shown=np.load(folder / "shown.npy"),
        figures=json.loads((folder / "figures.json").read_text()),
    )


def predictions(model: Predictor, bench: Bench, windows: tuple[Window, ...], steps: int) -> np.ndarray:
    """What a model predicts for some windows: uint8 (K, steps, H, W, 3)."""
    task, flow = bench.data.task, bench.data.flow
    count = task.context + task.horizon * task.between  # what lies between two frames is read with them
    frames = read_windows(bench.data.shards, windows, count=count, interval=task.interval)
    batch = make_batch(frames, context=task.context, between=task.between, device=bench.device)
    output = rollout(model, batch.context, steps, flow=flow_for(batch, flow), clamp=True)
    found: np.ndarray = to_uint8(output.frames).movedim(-3, -1).cpu().numpy()
    return found


def _untrained(bench: Bench, name: str) -> Predictor:
    if name == "flow_gate":
        return fitted_flow_gate(bench.data.shards, bench.plan.split, bench.plan.params, bench.data.task)
    return zoo.build(name, {}, bench.data.task).eval()


def _key(bench: Bench, known: Mapping[str, Any], model: Model) -> str:
    module = zoo.module(str(known["name"]), bench.data.task.kind).__name__
    judges = "vidpred.evaluation.classes" if bench.plan.classify else "vidpred.evaluation.scoring"
    parts = {
        "model": dict(known),
        "list": bench.list.id,
        "flow": bench.data.flow.model_dump() if model.needs_flow or known["name"] == "flow_gate" else {},
        "fitted_on": bench.training_id if known["name"] == "flow_gate" else "",
        "code": code_digest(module, judges),
    }
    return digest(parts)[:16]


@torch.no_grad()
def _score(bench: Bench, model: Model) -> Scores:
    task, batch_size = bench.data.task, bench.plan.params.evaluate.batch_size
    operations = zoo.operations(model, task)
    model = model.to(bench.device).eval()
    if isinstance(model, Classifier):
        return _told(bench, model, operations)
    assert isinstance(model, Predictor)
    windows = score_model(
        model, bench.data.shards, bench.list.windows, task=task, flow=bench.data.flow,
        crop=bench.plan.params.evaluate.crop, batch_size=batch_size, device=bench.device,
        groups=bench.list.groups,
    )  # fmt: skip
    some = bench.list.windows[:batch_size]
    seconds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        predictions(model, bench, some, task.horizon)  # ends on the CPU: the device is done then
        seconds.append(time.perf_counter() - began)
    figures = {
        "parameters": zoo.parameters(model),
        "operations": operations,
        "clips_per_second": len(some) / min(seconds),
        "device": str(bench.device),
        "task": asdict(task),
    }
    return Scores(windows, predictions(model, bench, bench.list.shown, bench.list.ahead), figures)


def _told(bench: Bench, model: Classifier, operations: int) -> Scores:
    """What a classifier says of the videos of the list, and how fast."""
    task, batch_size = bench.data.task, bench.plan.params.evaluate.batch_size
    seconds = []
    rows = pd.DataFrame()
    for windows in (*[bench.list.windows[:batch_size]] * _ROUNDS, bench.list.windows):
        began = time.perf_counter()
        rows = score_windows(
            model, bench.data.shards, windows, task=task, flow=bench.data.flow, groups=bench.list.groups,
            batch_size=batch_size, device=bench.device,
        )  # fmt: skip
        seconds.append(time.perf_counter() - began)
    figures = {
        "parameters": zoo.parameters(model),
        "operations": operations,
        "clips_per_second": len(bench.list.windows[:batch_size]) / min(seconds[:_ROUNDS]),
        "device": str(bench.device),
        "task": asdict(task),
    }
    return Scores(by_video(rows, task.classes), np.empty((0,), np.uint8), figures)


def _write(folder: Path, scores: Scores) -> None:
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    scores.windows.to_parquet(part / "windows.parquet")
    np.save(part / "shown.npy", scores.shown)
    write_json(part / "figures.json", scores.figures)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
