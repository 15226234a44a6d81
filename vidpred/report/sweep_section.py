"""The report's section of the sweep: what results/tune/ tells, as the template wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from vidpred.report.charts import inline
from vidpred.report.inputs import Sweep
from vidpred.report.sweep_costs import costs_table, saved_chart
from vidpred.report.words import short
from vidpred.training.figures import NOTHING_MOVES

LISTED = 30
"""Trials in the page; all are in results/tune/trials.csv."""


def section(sweep: Sweep, params: Mapping[str, Any]) -> dict[str, Any]:
    """Charts, tables and sentences.

    Args:
        sweep: As read.
        params: params.yaml; of it the task, and the steps of a trial that is not stopped.
    """
    failed = sweep.trials[sweep.trials["status"] == "failed"]
    shown = sweep.trials[sweep.trials["status"] != "failed"].head(LISTED)
    listed = pd.concat([shown, failed.head(max(5, LISTED - len(shown)))])
    gains = sweep.trials.get("val_gain", pd.Series(dtype=float)).notna().any()
    classify = params["task"].get("kind") == "classify"
    return {
        "measure": "cross-entropy" if classify else "PD",
        "form": "{:.3f}" if classify else "{:.2f}",
        "gains": bool(gains),
        "priced": "operations" in sweep.trials and sweep.trials["operations"].nunique() > 1,
        # ours: made by the stage before
        "charts": {name: Markup(inline(svg)) for name, svg in sweep.charts.items()},
        "notes": sweep.notes,
        "unsaid": [note for name, note in sweep.notes.items() if name not in sweep.charts],
        "trials": trial_rows(listed),
        "more": len(sweep.trials) - len(listed),
        "still": "" if gains or classify else NOTHING_MOVES,
        "neighbours": _neighbours(sweep.neighbours),
        "costs": None if sweep.costs is None else _costs(sweep, sweep.costs, int(params["tune"]["steps"])),
    }


def trial_rows(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Trials with what was drawn for each as short text; of failed ones why. The first is the one that won."""
    settings = [name for name in trials.columns if name.startswith(("config.", "train."))]
    rows = []
    for place, row in enumerate(trials.to_dict("records")):
        drawn = [f"{name.partition('.')[2]} {_told(row[name])}" for name in settings if pd.notna(row[name])]
        known = pd.notna(row.get("perceptual_distance")) and row["status"] != "failed"
        gain = row.get("val_gain")
        rows.append(
            {
                "number": row["trial"],
                "model": row["model"],
                "settings": ", ".join(drawn) or "defaults",
                "steps": int(row["step"]),
                "failed": ""
                if known
                else f"{row['status']}: {row['error'] if pd.notna(row['error']) else 'no validation'}",
                "stopped": row["status"] == "stopped",
                "operations": short(row["operations"]) if pd.notna(row.get("operations")) else "–",
                "distance": float(row["perceptual_distance"]) if known else None,
                "gain": float(gain) if known and pd.notna(gain) else None,
                "won": place == 0 and known,
            }
        )
    return rows


def _neighbours(table: pd.DataFrame) -> dict[str, Any]:
    """Headings and rows; in each row the settings that differ from the best one's are marked."""
    settings = list(table.columns[5:])
    best = table.iloc[0]
    return {
        "settings": settings,
        "rows": [
            {
                "trial": row["trial"],
                "distance": row["distance"],
                "pd": row["val_perceptual_distance"],
                "cells": [(_told(row[name]), str(row[name]) != str(best[name])) for name in settings],
            }
            for row in table.to_dict("records")
        ],
    }


def _costs(sweep: Sweep, costs: pd.DataFrame, steps: int) -> dict[str, Any]:
    table = costs_table(sweep.trials, costs, steps)
    kind = "gpu" if table["gpu_seconds"].sum() else "cpu"
    svg = saved_chart(
        table, spent=f"{kind}_seconds", saved=f"{kind}_seconds_saved", name="cost",
        label=f"{kind.upper()} seconds taken, and those saved by early stopping",
    )  # fmt: skip
    return {
        "chart": Markup(svg),
        "total": table.select_dtypes("number").sum().to_dict(),
        "gpus": kind == "gpu",
        "saved": float(table[f"{kind}_seconds_saved"].sum()) > 0,
        "nodes": sorted(set(costs["node"].dropna().astype(str)) - {""}) if "node" in costs else [],
    }


def _told(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
