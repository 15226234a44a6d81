"""What the report shows, read from the outputs of the stages."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from vidpred.errors import UserError
from vidpred.workspace import home

LESSONS = 7
"""Validations in the filmstrip of learning at the most."""


@dataclass(frozen=True)
class Picture:
    """One clip of the test part, predicted."""

    source: str
    """The file as the user named it."""
    start: int
    """First frame of the window, counted from the clip's first."""
    steps: int
    """Frames predicted."""
    moving: bytes
    """GIF: left the truth, right the context and then the prediction."""
    strip: bytes
    """PNG: the same as a filmstrip, of some steps only where there are many."""


@dataclass(frozen=True)
class ClassPicture:
    """One clip of the test part, and what a classifier takes it for."""

    caption: dict[str, Any]
    """source, label, predicted, believed."""
    moving: bytes
    """GIF."""
    strip: bytes
    """PNG."""


@dataclass(frozen=True)
class Lesson:
    """A row of the filmstrip of learning."""

    step: int | None
    """Of the validation; None: what was seen, or what really happened."""
    label: str
    """Where there is no step."""
    strip: bytes
    """PNG: a frame a clip."""


@dataclass(frozen=True)
class Sweep:
    """What results/tune/ tells of the sweep."""

    trials: pd.DataFrame
    """A row a trial, best first, those without a result last."""
    neighbours: pd.DataFrame
    """The best trial, then those of its model that are nearest to it."""
    charts: dict[str, str]
    """SVG of each that there is something to draw for."""
    notes: dict[str, str]
    """What a reader of each chart has to know, or why there is none."""
    costs: pd.DataFrame | None
    """A row a trial: its seconds, restarts and machine; None: the sweep was run elsewhere."""


@dataclass(frozen=True)
class Board:
    """What `vidpred leaderboard` left behind."""

    rows: pd.DataFrame
    """leaderboard.csv: a row a model."""
    facts: dict[str, Any]
    """leaderboard.json: budget, seeds, data_id …"""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """What a page of any task is made of."""

    metrics: dict[str, Any]
    """results/evaluate/metrics.json."""
    fetch: dict[str, Any]
    """results/fetch/summary.json."""
    transcode: dict[str, Any]
    """results/transcode/summary.json."""
    split: dict[str, Any]
    """results/split/summary.json."""
    leakage: dict[str, Any]
    """results/split/leakage.json."""
    receipt: dict[str, Any]
    """results/register/receipt.json."""
    model: dict[str, Any]
    """models/trained/model.json."""
    training: pd.DataFrame
    """A row a validation: step, loss, val_perceptual_distance …"""
    sweep: Sweep
    """What `tune` found."""
    sources: pd.DataFrame
    """A row an input: name, status (kept, dropped, failed), reason."""
    clips: pd.DataFrame
    """A row a clip: length in frames, fps, motion, label."""
    board: Board | None
    """Of all models; None: no leaderboard has been held."""
    params: dict[str, Any]
    """params.yaml without `resources`, which changes no result."""


@dataclass(frozen=True, kw_only=True)
class Inputs(Stages):
    """All that the page on a model that makes frames is made of."""

    windows: pd.DataFrame
    """A row a test window and model."""
    rollout: pd.DataFrame
    """A row a step ahead and model."""
    deciles: pd.DataFrame
    """A row a model and tenth of the test windows, sorted by how much moves."""
    pictures: list[Picture]
    """In the order of the page."""
    restored: bytes | None
    """PNG: frames above what an autoencoder gives back of them; None: the model is none."""
    learning: list[Lesson]
    """Of the same validation clips, in the order of the page; empty where training kept no pictures."""
    left_out: int = 0
    """Pictures that were left out to keep the page small."""


@dataclass(frozen=True, kw_only=True)
class ClassInputs(Stages):
    """All that the page on a classifier is made of."""

    confusion: bytes
    """PNG: the confusion matrix."""
    pictures: list[ClassPicture]
    """In the order of the page."""


def read_inputs(root: Path) -> Inputs:
    """Reads what the stages before `report` wrote below the project's root.

    Raises:
        UserError: a file is missing or damaged; names the stage that makes it again.
    """
    return Inputs(
        **_read_stages(root),
        windows=read_table(root / "data/evaluation/windows.parquet", "evaluate"),
        rollout=read_table(root / "data/evaluation/rollout.parquet", "evaluate"),
        deciles=read_table(root / "data/evaluation/deciles.parquet", "evaluate"),
        pictures=_pictures(root / "data/evaluation/pictures"),
        restored=_if_there(root / "data/evaluation/pictures/restored.png"),
        learning=_learning(root / "models/trained/filmstrip"),
    )


def read_class_inputs(root: Path) -> ClassInputs:
    """The same of a classifier, with the cross-entropy under the name by which trials are judged elsewhere."""
    folder = root / "data/evaluation/pictures"
    stages = _read_stages(root)
    names = {"cross_entropy": "perceptual_distance", "val_cross_entropy": "val_perceptual_distance"}
    found = stages["sweep"]
    stages["sweep"] = replace(
        found, trials=found.trials.rename(columns=names), neighbours=found.neighbours.rename(columns=names)
    )
    return ClassInputs(
        **stages,
        confusion=_bytes(folder / "confusion.png", "evaluate"),
        pictures=[
            ClassPicture(
                caption=caption,
                moving=_bytes(folder / f"{i}.gif", "evaluate"),
                strip=_bytes(folder / f"{i}.png", "evaluate"),
            )
            for i, caption in enumerate(read_json(folder / "pictures.json", "evaluate"))
        ],
    )


def _read_stages(root: Path) -> dict[str, Any]:
    """The fields of `Stages`."""
    params = {k: v for k, v in yaml.safe_load((root / "params.yaml").read_text()).items() if k != "resources"}
    return {
        "metrics": read_json(root / "results/evaluate/metrics.json", "evaluate"),
        "fetch": read_json(root / "results/fetch/summary.json", "fetch"),
        "transcode": read_json(root / "results/transcode/summary.json", "transcode"),
        "split": read_json(root / "results/split/summary.json", "split"),
        "leakage": read_json(root / "results/split/leakage.json", "split"),
        "receipt": read_json(root / "results/register/receipt.json", "register"),
        "model": read_json(root / "models/trained/model.json", "train"),
        "training": read_lines(root / "models/trained/metrics.jsonl", "train"),
        "sweep": read_sweep(root / "results/tune", home(root) / "tune"),
        "sources": read_table(root / "data/shards/sources.parquet", "transcode"),
        "clips": read_table(root / "data/shards/index.parquet", "transcode"),
        "board": _board(root / "leaderboard"),
        "params": params,
    }


def _board(folder: Path) -> Board | None:
    """Of no stage, so it may be missing; one that cannot be read counts as missing."""
    try:
        rows = pd.read_csv(folder / "leaderboard.csv")
        facts = json.loads((folder / "leaderboard.json").read_text())
    except (OSError, ValueError):
        return None
    return Board(rows, facts) if len(rows) and isinstance(facts, dict) else None


def read_sweep(folder: Path, storage: Path) -> Sweep:
    """What stage `sweep` left in a folder; what it cost, from the storage of sweeps. UserError as `read_json`."""
    notes = read_json(folder / "notes.json", "sweep")
    costs = storage / read_json(folder / "summary.json", "tune").get("sweep", "unknown") / "costs.parquet"
    return Sweep(
        trials=_csv(folder / "trials.csv", "sweep"),
        neighbours=_csv(folder / "neighbours.csv", "sweep"),
        charts={name: _text(folder / f"{name}.svg", "sweep") for name, told in notes.items() if told["drawn"]},
        notes={name: told["note"] for name, told in notes.items()},
        costs=read_table(costs, "tune") if costs.is_file() else None,
    )


def _text(path: Path, stage: str) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise UserError(f"{path} is not there: `dvc repro {stage}` makes it") from None


def read_json(path: Path, stage: str) -> Any:
    """A JSON file of a stage; UserError where it is missing or damaged."""
    try:
        return json.loads(_text(path, stage))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): `dvc repro --force {stage}` makes it again") from None


def read_lines(path: Path, stage: str) -> pd.DataFrame:
    """A row a line of JSON; UserError as `read_json`."""
    try:
        return pd.DataFrame([json.loads(line) for line in _text(path, stage).splitlines()])
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): `dvc repro --force {stage}` makes it again") from None


def read_table(path: Path, stage: str) -> pd.DataFrame:
    """A Parquet file; UserError as `read_json`."""
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path} is not there: `dvc repro {stage}` makes it") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): `dvc repro --force {stage}` makes it again") from None


def _csv(path: Path, stage: str) -> pd.DataFrame:
    try:
        # words that pandas takes for missing values may be values of settings
        return pd.read_csv(path, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise UserError(f"{path} is not there: `dvc repro {stage}` makes it") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): `dvc repro --force {stage}` makes it again") from None


def _bytes(path: Path, stage: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is not there: `dvc repro {stage}` makes it") from None


def _if_there(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _learning(folder: Path) -> list[Lesson]:
    """From what was seen, over the first validation and the last, to what happened; `LESSONS` of them at the most."""
    steps = sorted(path for path in folder.glob("*.png") if path.stem.isdecimal())
    if not steps:
        return []
    last = len(steps) - 1
    shown = sorted({round(last * i / (LESSONS - 1)) for i in range(LESSONS)})
    return [
        Lesson(None, "last frame seen", (folder / "seen.png").read_bytes()),
        *(Lesson(int(steps[i].stem), "", steps[i].read_bytes()) for i in shown),
        Lesson(None, "what happened", (folder / "truth.png").read_bytes()),
    ]


def _pictures(folder: Path) -> list[Picture]:
    return [
        Picture(
            source=caption["source"],
            start=caption["start"],
            steps=caption["steps"],
            moving=_bytes(folder / f"{i}.gif", "evaluate"),
            strip=_bytes(folder / f"{i}.png", "evaluate"),
        )
        for i, caption in enumerate(read_json(folder / "pictures.json", "evaluate"))
    ]
