"""What the report shows, read from the outputs of the stages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from vidpred.errors import UserError


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
    """PNG: the same as a filmstrip."""


@dataclass(frozen=True)
class Inputs:
    """All that the page is made of."""

    metrics: dict[str, Any]
    """results/evaluate/metrics.json."""
    fetch: dict[str, Any]
    """results/fetch/summary.json."""
    transcode: dict[str, Any]
    """results/transcode/summary.json."""
    split: dict[str, Any]
    """results/split/summary.json."""
    receipt: dict[str, Any]
    """results/register/receipt.json."""
    model: dict[str, Any]
    """models/trained/model.json."""
    training: pd.DataFrame
    """A row a validation: step, loss, val_perceptual_distance …"""
    trials: pd.DataFrame
    """A row a trial of the sweep."""
    windows: pd.DataFrame
    """A row a test window and model."""
    rollout: pd.DataFrame
    """A row a step ahead and model."""
    sources: pd.DataFrame
    """A row an input: name, status (kept, dropped, failed), reason."""
    pictures: list[Picture]
    """In the order of the page."""
    params: dict[str, Any]
    """params.yaml without `resources`, which changes no result."""


def read_inputs(root: Path) -> Inputs:
    """Reads what the stages before `report` wrote below the project's root.

    Raises:
        UserError: a file is missing or damaged; names the stage that makes it again.
    """
    params = {k: v for k, v in yaml.safe_load((root / "params.yaml").read_text()).items() if k != "resources"}
    return Inputs(
        metrics=_json(root / "results/evaluate/metrics.json", "evaluate"),
        fetch=_json(root / "results/fetch/summary.json", "fetch"),
        transcode=_json(root / "results/transcode/summary.json", "transcode"),
        split=_json(root / "results/split/summary.json", "split"),
        receipt=_json(root / "results/register/receipt.json", "register"),
        model=_json(root / "models/trained/model.json", "train"),
        training=_lines(root / "models/trained/metrics.jsonl", "train"),
        trials=_table(root / "data/tune/trials.parquet", "tune"),
        windows=_table(root / "data/evaluation/windows.parquet", "evaluate"),
        rollout=_table(root / "data/evaluation/rollout.parquet", "evaluate"),
        sources=_table(root / "data/shards/sources.parquet", "transcode"),
        pictures=_pictures(root / "data/evaluation/pictures"),
        params=params,
    )


def _text(path: Path, stage: str) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise UserError(f"{path} is not there: `dvc repro {stage}` makes it") from None


def _json(path: Path, stage: str) -> Any:
    try:
        return json.loads(_text(path, stage))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): `dvc repro --force {stage}` makes it again") from None


def _lines(path: Path, stage: str) -> pd.DataFrame:
    try:
        return pd.DataFrame([json.loads(line) for line in _text(path, stage).splitlines()])
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): `dvc repro --force {stage}` makes it again") from None


def _table(path: Path, stage: str) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path} is not there: `dvc repro {stage}` makes it") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): `dvc repro --force {stage}` makes it again") from None


def _pictures(folder: Path) -> list[Picture]:
    return [
        Picture(
            source=caption["source"],
            start=caption["start"],
            steps=caption["steps"],
            moving=(folder / f"{i}.gif").read_bytes(),
            strip=(folder / f"{i}.png").read_bytes(),
        )
        for i, caption in enumerate(_json(folder / "pictures.json", "evaluate"))
    ]
