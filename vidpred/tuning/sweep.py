"""The sweep: every point of the space as a trial, and what came of it.

In: shards, split, `tune` of params.yaml. Out: `trials.parquet` and `best.yaml`. The search goes by the stage's key, so
a sweep that was broken off is found and gone on with, in Ray and in MLflow alike.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from vidpred.cluster.contract import Point, Spent, Status
from vidpred.cluster.search import run_search
from vidpred.config import Params
from vidpred.data.clips import task_of
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.tracking.runs import Tracker
from vidpred.training.figures import NOTHING_MOVES, gain_in_words
from vidpred.tuning.plan import planned
from vidpred.tuning.trial import Trial
from vidpred.workspace import atomic, fresh_folder

log = logging.getLogger(__name__)

FIGURES = (
    "step",
    "perceptual_distance",
    "val_copy_last",
    "val_gain",
    "val_psnr_db",
    "loss",
    "clips_per_second",
    "parameters",
    "operations",
)
"""What is kept of a trial's report."""


@dataclass
class TrialResult:
    """How a trial ended."""

    point: Point
    history: list[Mapping[str, Any]] = field(default_factory=list)
    """Figures of each report."""
    error: str = ""


class _Trials:
    """Tells people and MLflow how trials get on; one MLflow run a trial, below the sweep's."""

    def __init__(self, key: str, parent: str | None) -> None:
        self.key, self.parent = key, parent
        self.results: dict[int, TrialResult] = {}
        self._runs: dict[int, tuple[ExitStack, Tracker]] = {}

    def started(self, number: int, point: Point, *, trial_id: str, resources: Mapping[str, float]) -> None:
        if number not in self._runs:
            self.results[number] = TrialResult(point)
            stack = ExitStack()
            key, params = f"{self.key}-{number}", dict(point)
            tracker = stack.enter_context(Tracker.open(stage="trial", key=key, params=params, parent=self.parent))
            self._runs[number] = stack, tracker

    def broke(self, number: int, reason: str) -> None: ...

    def changed(self, number: int, point: Point, *, taken_from: int, step: int, checkpoint: str | None) -> None:
        self.results[number].point = point

    def spent(self, spent: Spent) -> None: ...

    def reported(self, number: int, figures: Mapping[str, Any], checkpoint: str | None) -> None:
        self.results[number].history.append(figures)
        known = {name: figures[name] for name in FIGURES if name in figures}
        self._runs[number][1].metrics(int(figures["step"]), known)

    def ended(self, number: int, status: Status, reason: str) -> None:
        stack, tracker = self._runs.pop(number)
        if status == "failed":
            self.results[number].error = reason
            tracker.fail(reason)
        stack.close()
        log.info("trial %d %s: %s %s", number, status, describe(self.results[number].point), reason)

    def close(self) -> None:
        """What is still open was broken off."""
        for stack, tracker in self._runs.values():
            tracker.fail("the sweep was broken off")
            stack.close()
        self._runs.clear()


def describe(point: Point) -> str:
    """A point in a few words: `warpmix width=16 learning_rate=0.0021`."""
    fields = {**point["config"], **point["train"]}
    values = (f"{k}={v:.2g}" if isinstance(v, float) else f"{k}={v}" for k, v in fields.items())
    return " ".join([point["model"], *values]) + (" (defaults)" if not fields else "")


def sweep(
    shards_folder: Path, *, split: Path, out: Path, best: Path, params: Params, key: str, storage: Path
) -> dict[str, Any]:
    """Runs the search (inside `cluster.connected`) and writes what came of it; returns figures for a summary.

    Args:
        shards_folder: Of frames.
        split: Folder of the split.
        out: Folder for `trials.parquet`, written anew.
        best: Path of best.yaml.
        params: All of params.yaml.
        key: Names the search.
        storage: Where Ray keeps its state.

    Raises:
        UserError: the space is impossible, or no trial came to a result.
    """
    task = task_of(Shards(shards_folder), params.task)
    plan = planned(params, task, name=key, storage=storage)
    trial = Trial(shards=shards_folder.resolve(), split=split.resolve(), params=params)
    with Tracker.open(stage="tune", key=key, params={"tune": params.tune.model_dump(exclude={"models"})}) as tracker:
        listener = _Trials(key, tracker.run_id)
        try:
            run_search(plan.search, plan.suggester, trial, listener=listener)
        finally:
            listener.close()
        results = [listener.results[number] for number in sorted(listener.results)]
        table = _table(results)
        if not table["perceptual_distance"].notna().any():
            reasons = {r.error.splitlines()[-1] for r in results if r.error}
            raise UserError(f"no trial came to a result: {'; '.join(sorted(reasons)) or 'Ray gave no reason'}")
        fresh_folder(out)
        table.drop(columns="clips_per_second").to_parquet(out / "trials.parquet")
        chosen = table.sort_values("perceptual_distance").iloc[0]
        # no figures: the same choice must not make training stale because a figure moved
        choice = {
            "model": chosen["model"],
            "config": json.loads(chosen["config"]),
            "train": json.loads(chosen["train"]),
        }
        figures = {"val_perceptual_distance": round(float(chosen["perceptual_distance"]), 4)}
        if pd.notna(chosen["val_gain"]):  # it is not there where nothing moves
            figures["val_gain"] = round(float(chosen["val_gain"]), 4)
        with atomic(best) as part:
            part.write_text(yaml.safe_dump(choice, sort_keys=False))
        tracker.metrics(params.tune.steps, figures)
        tracker.artifact(best)
    show_trials(table)
    return {
        "trials": len(table),
        "failed": int((table["error"] != "").sum()),
        "stopped_early": int((table["step"] < params.tune.steps).sum()),
        "best": {"model": choice["model"]} | figures,
    }


def _table(results: list[TrialResult]) -> pd.DataFrame:
    """A row a trial: its best report, the last step it came to, and all validations as JSON for the curves."""
    rows = []
    for number, result in enumerate(results):
        reports = [r for r in result.history if "perceptual_distance" in r]
        best = min(reports, key=lambda r: r["perceptual_distance"], default={})
        rows.append(
            {
                "trial": number,
                "model": result.point["model"],
                "config": json.dumps(result.point["config"], sort_keys=True),
                "train": json.dumps(result.point["train"], sort_keys=True),
                **{name: best.get(name) for name in FIGURES},
                "step": max((r["step"] for r in reports), default=0),
                "curve": json.dumps([[r["step"], r["perceptual_distance"]] for r in reports]),
                "error": result.error.splitlines()[-1] if result.error else "",
            }
        )
    return pd.DataFrame(rows)


def show_trials(table: pd.DataFrame) -> None:
    """Prints trials, best first."""
    shown = Table(title="Trials, best first")
    for name in ("model", "varied", "steps", "val PD", "gain"):
        shown.add_column(name, justify="left" if name in ("model", "varied") else "right")
    for row in table.sort_values("perceptual_distance").to_dict("records"):
        point = {"model": row["model"], "config": json.loads(row["config"]), "train": json.loads(row["train"])}
        varied = describe(point).removeprefix(f"{row['model']} ")
        if row["error"]:
            shown.add_row(row["model"], varied, str(row["step"]), "failed", row["error"][:60])
        else:
            gain = gain_in_words(row["val_gain"]) if pd.notna(row["val_gain"]) else "–"
            shown.add_row(row["model"], varied, str(row["step"]), f"{row['perceptual_distance']:.2f}", gain)
    if table["val_gain"].isna().all():
        shown.caption = f"no gains: {NOTHING_MOVES}"
    Console(stderr=True).print(shown)
