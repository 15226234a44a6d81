"""What a run in MLflow is made of: parameters, figures and tags, in the sizes that MLflow takes."""

from __future__ import annotations

import getpass
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY_TAG = "vidpred.key"
STAGE_TAG = "vidpred.stage"
FAILURE_TAG = "vidpred.failure"
"""Why a run failed, where `Tracker.fail` was told, or a trial's record says so."""

LONGEST_VALUE = 5000
"""Characters of a parameter or tag; MLflow takes at most 6000 of the one and 8000 of the other."""
_FIGURES_AT_ONCE = 800
"""In one request; MLflow takes at most 1000 entries of all kinds."""
_PARAMS_AT_ONCE = 90
"""MLflow takes at most 100."""


@dataclass(frozen=True)
class Figure:
    """A number at a step. Sent twice with the same time it is one number to a database, which is why rows on disk that
    have a `time` keep it."""

    key: str
    value: float
    step: int
    timestamp_ms: int


def figures_of(step: int, values: Mapping[str, object]) -> Iterator[Figure]:
    """The finite numbers of a row; `time`, in seconds since 1970, is when they were found: now, if it is missing."""
    at = values.get("time")
    stamp = round(at * 1000) if isinstance(at, int | float) else time.time_ns() // 1_000_000
    for key, value in values.items():
        if key in ("step", "time") or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if math.isfinite(value):
            yield Figure(key, float(value), step, stamp)


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested parameters by dotted names, as text: {"a": {"b": 1}} gives {"a.b": "1"}."""
    out: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{name}.")
        else:
            text = json.dumps(value, default=str) if isinstance(value, list | tuple) else str(value)
            out[f"{prefix}{name}"] = text[:LONGEST_VALUE]
    return out


def without_changed(params: Mapping[str, str], have: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Parameters that a run lacks, and tags `changed.<name>` for those that differ: MLflow's cannot change."""
    new = {name: value for name, value in params.items() if name not in have}
    return new, {f"changed.{name}": value for name, value in params.items() if have.get(name, value) != value}


def origin(stage: str) -> dict[str, str]:
    """Tags that MLflow shows of where a run comes from."""
    return {"mlflow.source.name": f"stages/{stage}.py", "mlflow.user": user()}


def send(
    client: MlflowClient,
    run: str,
    *,
    figures: Iterable[Figure] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Sends them in as few requests as MLflow takes them in; the tags last, so that they may tell what is there."""
    from mlflow.entities import Metric, Param, RunTag

    figures, entries = list(figures), list((params or {}).items())
    while True:
        metrics = [Metric(f.key, f.value, f.timestamp_ms, f.step) for f in figures[:_FIGURES_AT_ONCE]]
        some = [Param(name, value) for name, value in entries[:_PARAMS_AT_ONCE]]
        figures, entries = figures[_FIGURES_AT_ONCE:], entries[_PARAMS_AT_ONCE:]
        last = not figures and not entries
        marks = [RunTag(name, value[:LONGEST_VALUE]) for name, value in (tags or {}).items()] if last else []
        if metrics or some or marks:
            client.log_batch(run, metrics=metrics, params=some, tags=marks)
        if last:
            return


def steps_of(client: MlflowClient, run: str, keys: Iterable[str]) -> dict[str, set[int]]:
    """The steps that a run has of some figures; a request a figure."""
    return {key: {metric.step for metric in client.get_metric_history(run, key)} for key in keys}


def read_rows(path: Path) -> list[dict[str, object]]:
    """Rows of a JSON-lines file; a last line that a kill cut short is not one, and neither is a missing file's."""
    rows = []
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def user() -> str:
    """Who works here, as the machine knows them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # containers without an entry for the user
        return "unknown"
