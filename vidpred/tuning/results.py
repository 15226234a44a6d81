"""What came of a sweep: the table of trials, the best configuration, figures for a summary. Made from its record alone.

What DVC keeps (`trials.parquet`, `best.yaml`, `summary.json`) has no timings and no names of machines: the same record
gives the same bytes. These are in `costs.parquet`, in the sweep's folder; `trials_with_costs` puts both together.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from vidpred.errors import UserError
from vidpred.tuning.ledger import Entry, Ledger
from vidpred.workspace import atomic, fresh_folder

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
    "steps",
    "latency_ms",
)
"""What is kept of a trial's report."""
METRICS = {"predict": "perceptual_distance", "interpolate": "perceptual_distance", "classify": "cross_entropy"}
"""For each kind of task the figure that trials are judged by: the smaller the better."""
OF_CLASSES = {"perceptual_distance": "cross_entropy", "val_copy_last": "val_majority", "val_gain": "val_top1"}
"""What stands in a classifier's reports in place of a predictor's figures."""
PREDICTS = ("perceptual_distance",)
"""Those of `METRICS` that are of predicted frames."""
GAINS = {"perceptual_distance": "val_gain", "cross_entropy": "val_top1"}
"""For each of `METRICS` the figure that is told beside it."""
TIMINGS = ("clips_per_second", "latency_ms")
"""Those of them that differ between two runs of the same trial."""
COSTS = ("seconds", "node", "cpus", "gpus", "cpu_seconds", "gpu_seconds", "restarts")


def metric_of(kind: str) -> str:
    """The figure that trials are judged by, for a kind of task."""
    return METRICS[kind]


def objectives_of(names: Sequence[str], kind: str) -> list[str]:
    """Figures of reports by the names in `tune.objectives`, of which the first stands for what trials are judged by."""
    return [metric_of(kind) if name in METRICS.values() else name for name in names]


def metric_in(names: Container[str]) -> str:
    """Which of `METRICS` a report or a table of trials has."""
    return next((metric for metric in METRICS.values() if metric in names), METRICS["predict"])


def describe(point: Mapping[str, Any]) -> str:
    """A point in a few words: `warpmix width=16 learning_rate=0.0021`."""
    fields = {**point["config"], **point["train"]}
    values = (f"{k}={v:.2g}" if isinstance(v, float) else f"{k}={v}" for k, v in fields.items())
    return " ".join([point["model"], *values]) + (" (defaults)" if not fields else "")


def table(ledger: Ledger, *, limit: int | None = None) -> pd.DataFrame:
    """A row a trial below the number `limit`: its best report, the last step it came to, all validations as JSON."""
    reported = {
        number: [row for row in ledger.rows(number) if row.get(metric_in(row)) is not None]
        for number in ledger.entries
        if limit is None or number < limit
    }
    metric = metric_in(next((rows[0] for rows in reported.values() if rows), ()))
    figures = [OF_CLASSES.get(name, name) for name in FIGURES] if metric not in PREDICTS else list(FIGURES)
    rows = []
    for number, reports in reported.items():
        entry = ledger.entries[number]
        best = min(reports, key=lambda row: float(row[metric]), default={})
        rows.append(
            {
                "trial": number,
                "model": entry.point["model"],
                "config": json.dumps(entry.point["config"], sort_keys=True),
                "train": json.dumps(entry.point["train"], sort_keys=True),
                **{name: best.get(name) for name in figures},
                "step": max((row["step"] for row in reports), default=0),
                "curve": json.dumps([[row["step"], row[metric]] for row in reports]),
                "status": entry.status,
                "error": entry.reason if entry.status == "failed" else "",
                **_costs(entry),
            }
        )
    columns = ["trial", "model", "config", "train", *figures, "curve", "status", "error", *COSTS]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(set(figures) - {"step"}, float))


def _costs(entry: Entry) -> dict[str, Any]:
    return {
        "seconds": entry.seconds,
        "node": entry.node,
        "cpus": entry.cpus,
        "gpus": entry.gpus,
        "cpu_seconds": entry.cpus * entry.seconds,
        "gpu_seconds": entry.gpus * entry.seconds,
        "restarts": entry.restarts,
    }


def best_of(trials: pd.DataFrame) -> dict[str, Any]:
    """The row of the trial that came nearest, of those that did not fail; of two alike the one with the lower number.

    Raises:
        UserError: none came to a result.
    """
    metric = metric_in(trials)
    good = trials[trials[metric].notna() & (trials["status"] != "failed")]
    if good.empty:
        reasons = sorted(set(trials["error"]) - {""})
        raise UserError(f"no trial came to a result: {'; '.join(reasons) or 'none was run'}")
    row = good.sort_values([metric, "trial"], kind="stable").iloc[0]
    return {str(name): value for name, value in row.items()}


def write(trials: pd.DataFrame, *, key: str, out: Path, best: Path, costs: Path) -> dict[str, Any]:
    """Writes `trials.parquet` into the folder `out`, best.yaml and the costs; returns figures for a summary.

    Raises:
        UserError: no trial came to a result.
    """
    chosen = best_of(trials)
    fresh_folder(out)
    trials.drop(columns=[*TIMINGS, *COSTS]).to_parquet(out / "trials.parquet")
    with atomic(costs) as part:
        trials[["trial", *TIMINGS, *COSTS]].to_parquet(part)
    # no figures: the same choice must not make training stale because a figure moved
    choice = {
        "model": chosen["model"],
        "config": json.loads(chosen["config"]),
        "train": json.loads(chosen["train"]),
    }
    with atomic(best) as part:
        part.write_text(yaml.safe_dump(choice, sort_keys=False))
    return {
        "sweep": key,
        "trials": len(trials),
        "failed": int((trials["status"] == "failed").sum()),
        "stopped_early": int((trials["status"] == "stopped").sum()),
        "best": {"trial": int(chosen["trial"]), "model": choice["model"]} | figures_of(chosen),
    }


def read_best(path: Path) -> dict[str, Any]:
    """What `write` left in a best.yaml: `model`, `config`, `train`.

    Raises:
        UserError: there is no such file, or it is none.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    named = found if isinstance(found, Mapping) else {}
    if not isinstance(named.get("model"), str) or not all(
        isinstance(named.get(k), Mapping) for k in ("config", "train")
    ):
        raise UserError(f"{path} is not what a sweep writes: it needs model, config and train")
    return {name: named[name] for name in ("model", "config", "train")}


def figures_of(chosen: Mapping[str, Any]) -> dict[str, float]:
    """The best trial's figures, for a summary."""
    metric = metric_in(chosen)
    figures = {f"val_{metric}": round(float(chosen[metric]), 4)}
    if pd.notna(chosen[GAINS[metric]]):  # no gain is there where nothing moves
        figures[GAINS[metric]] = round(float(chosen[GAINS[metric]]), 4)
    return figures


def trials_with_costs(trials: Path, costs: Path) -> pd.DataFrame:
    """`trials.parquet` with the columns of `COSTS` and `TIMINGS`; empty ones where the sweep was run elsewhere."""
    found = pd.read_parquet(trials)
    if costs.is_file():
        return found.merge(pd.read_parquet(costs), on="trial", how="left")
    return found.assign(**dict.fromkeys((*TIMINGS, *COSTS)))
