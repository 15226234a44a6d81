"""The sweep: every point of the space as a trial, and what came of it.

In: shards, split, `tune` of params.yaml. Out: `trials.parquet` and `best.yaml`. The search goes by the stage's key, so
a sweep that was broken off is found and gone on with, in Ray and in MLflow alike.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from vidpred.cluster.search import Point, Search, TrialResult, run_search
from vidpred.config import Params
from vidpred.data.clips import task_of
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.tracking.runs import Tracker
from vidpred.tuning.space import points
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


class _Trials:
    """Tells people and MLflow how trials get on; one MLflow run a trial, below the sweep's."""

    def __init__(self, key: str, parent: str | None, total: int) -> None:
        self.key, self.parent, self.total, self.done = key, parent, total, 0
        self._runs: dict[str, tuple[ExitStack, Tracker]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_runs": {}}  # Ray keeps a copy of this beside the search

    def _run(self, trial: str, point: Point) -> tuple[ExitStack, Tracker]:
        if trial not in self._runs:
            stack = ExitStack()
            tracker = stack.enter_context(
                Tracker.open(stage="trial", key=f"{self.key}-{trial}", params=dict(point), parent=self.parent)
            )
            self._runs[trial] = stack, tracker
        return self._runs[trial]

    def started(self, trial: str, point: Point) -> None:
        self._run(trial, point)

    def reported(self, trial: str, point: Point, figures: Mapping[str, Any]) -> None:
        known = {name: figures[name] for name in FIGURES if name in figures}
        self._run(trial, point)[1].metrics(int(figures["step"]), known)

    def ended(self, trial: str, point: Point, *, failed: bool) -> None:
        self.done += 1
        stack, _ = self._run(trial, point)
        stack.close()
        del self._runs[trial]
        outcome = "failed" if failed else "ended"
        log.info("trial %d of %d %s: %s", self.done, self.total, outcome, describe(point))


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
    tried = points(params.tune, params.train, task)
    search = Search(
        name=key,
        storage=storage,
        metric="perceptual_distance",
        max_steps=params.tune.steps,
        grace_steps=params.tune.grace_steps,
        reduction_factor=params.tune.reduction_factor,
        cpus_per_trial=params.resources.cpus_per_trial,
        gpus_per_trial=params.resources.gpus_per_trial,
        trials_at_once=params.resources.trials_at_once,
    )
    trial = Trial(shards=shards_folder.resolve(), split=split.resolve(), params=params)
    with Tracker.open(stage="tune", key=key, params={"tune": params.tune.model_dump(exclude={"models"})}) as tracker:
        listener = _Trials(key, tracker.run_id, len(tried))
        results = run_search(search, tried, trial, listener=listener)
        table = _table(results)
        if not table["perceptual_distance"].notna().any():
            reasons = {r.error.splitlines()[-1] for r in results if r.error}
            raise UserError(f"no trial came to a result: {'; '.join(sorted(reasons)) or 'Ray gave no reason'}")
        fresh_folder(out)
        table.drop(columns="clips_per_second").to_parquet(out / "trials.parquet")
        chosen = table.sort_values("perceptual_distance").iloc[0]
        choice = {
            "model": chosen["model"],
            "config": json.loads(chosen["config"]),
            "train": json.loads(chosen["train"]),
            "val_perceptual_distance": round(float(chosen["perceptual_distance"]), 4),
            "val_gain": round(float(chosen["val_gain"]), 4),
        }
        with atomic(best) as part:
            part.write_text(yaml.safe_dump(choice, sort_keys=False))
        tracker.metrics(params.tune.steps, {"val_perceptual_distance": choice["val_perceptual_distance"]})
        tracker.artifact(best)
    _show(table)
    return {
        "trials": len(table),
        "failed": int((table["error"] != "").sum()),
        "stopped_early": int((table["step"] < params.tune.steps).sum()),
        "best": {k: choice[k] for k in ("model", "val_perceptual_distance", "val_gain")},
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


def _show(table: pd.DataFrame) -> None:
    shown = Table(title="Trials, best first")
    for name in ("model", "varied", "steps", "val PD", "gain"):
        shown.add_column(name, justify="left" if name in ("model", "varied") else "right")
    for row in table.sort_values("perceptual_distance").to_dict("records"):
        point = {"model": row["model"], "config": json.loads(row["config"]), "train": json.loads(row["train"])}
        varied = describe(point).removeprefix(f"{row['model']} ")
        if row["error"]:
            shown.add_row(row["model"], varied, str(row["step"]), "failed", row["error"][:60])
        else:
            figures = f"{row['perceptual_distance']:.2f}", f"{100 * row['val_gain']:+.1f} %"
            shown.add_row(row["model"], varied, str(row["step"]), *figures)
    Console(stderr=True).print(shown)
