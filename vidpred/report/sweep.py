"""What people see of a sweep: tables and charts in results/tune/, made from the table of trials alone.

In: `trials.parquet`, params.yaml. Out: trials.csv, curves.csv, importance.csv, neighbours.csv, saved.csv, front.csv; a
chart for each, and one of all settings, as SVG; notes.json with what a reader has to know of each. The same trials give
the same bytes; times and machines, which differ from run to run, are left to the report.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vidpred.report import sweep_charts as charts
from vidpred.report.charts import standalone
from vidpred.report.sweep_costs import saved_chart, saved_table
from vidpred.report.sweep_importance import DRAWS, Importance, importances
from vidpred.report.sweep_settings import Tried, tried
from vidpred.report.sweep_tables import (
    DRAWN,
    curves_table,
    front_table,
    measured_objectives,
    neighbours_table,
    trials_table,
)
from vidpred.workspace import atomic, write_json

PANELS = 6
"""Models whose settings are drawn: those with the best trials."""
CHARTS = ("curves", "parallel", "importance", "neighbours", "saved", "front")


def write_sweep(trials: pd.DataFrame, params: Mapping[str, Any], folder: Path) -> None:
    """Writes tables, charts and notes into the folder.

    Args:
        trials: As `tune` writes it.
        params: All of params.yaml.
        folder: results/tune.

    Raises:
        UserError: no trial came to a result.
    """
    classify = params.get("task", {}).get("kind") == "classify"
    sweep = tried(trials.rename(columns={"cross_entropy": "perceptual_distance"}), params)
    found = importances(sweep)
    saved = saved_table(
        sweep.trials.sort_values("model", key=_order(sweep.models), kind="stable"), int(params["tune"]["steps"])
    )
    tables = {
        "trials": trials_table(sweep),
        "curves": curves_table(sweep),
        "importance": _importance_table(found),
        "neighbours": neighbours_table(sweep),
        "saved": saved,
        "front": front_table(sweep),
    }
    notes = _notes(sweep, found, saved)
    for name, table in tables.items():
        with atomic(folder / f"{name}.csv") as part:
            (table.rename(columns=_worded) if classify else table).to_csv(part, index=False)
    for name, svg in _drawn(sweep, found, saved, notes).items():
        with atomic(folder / f"{name}.svg") as part:
            part.write_text(standalone(_worded(svg) if classify else svg), encoding="utf-8")
    write_json(folder / "notes.json", {name: _worded(note) for name, note in notes.items()} if classify else notes)


def _worded(text: str) -> str:
    """Of classifiers: trials are judged by the cross-entropy."""
    text = text.replace("perceptual_distance", "cross_entropy").replace("Perceptual distance", "Cross-entropy")
    text = text.replace("perceptual distance", "cross-entropy")
    return re.sub(r"\bPD\b", "cross-entropy", text)


def _order(models: Sequence[str]) -> Callable[[pd.Series[str]], pd.Series[int]]:
    places = {model: i for i, model in enumerate(models)}
    return lambda names: names.map(places)


def _drawn(sweep: Tried, found: list[Importance], saved: pd.DataFrame, notes: Mapping[str, str]) -> dict[str, str]:
    varied = [model for model in sweep.models if sweep.settings[model]][:PANELS]
    steps = "optimiser steps made, and those saved by early stopping"
    drawn = {
        "curves": charts.curves_chart(sweep),
        "saved": saved_chart(saved, spent="steps", saved="steps_saved", label=steps, name="saved"),
    }
    if varied:
        drawn["parallel"] = charts.parallel_chart(sweep, varied)
    if any(one.shares for one in found):
        drawn["importance"] = charts.importance_chart(found)
    if sweep.settings[sweep.winner]:
        drawn["neighbours"] = charts.neighbours_chart(sweep)
    if measured_objectives(sweep):
        drawn["front"] = charts.front_chart(sweep)
    return {name: drawn.get(name) or charts.empty_chart(notes[name], name) for name in CHARTS}


def _importance_table(found: list[Importance]) -> pd.DataFrame:
    rows = [
        {
            "setting": f"{one.group}: {name}",
            "importance": round(mean, 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "group": one.group,
            "trials": one.trials,
            "explained": round(one.explained or 0, 4),
        }
        for one in found
        for name, (mean, low, high) in one.shares.items()
    ]
    return pd.DataFrame(rows, columns=["setting", "importance", "low", "high", "group", "trials", "explained"])


def _notes(sweep: Tried, found: list[Importance], saved: pd.DataFrame) -> dict[str, str]:
    """What a reader of each chart has to know, in a sentence or two."""
    models, winner = sweep.models, sweep.winner
    with_curve = sum(len(curve) > 0 for curve in sweep.curves.values())
    many = with_curve > DRAWN
    varied = [model for model in models if sweep.settings[model]]
    return {
        "curves": (
            f"Of {with_curve:,} trials the best twelve as lines; a band is where eight in ten of a model's trials are "
            "at each step, its dashed line their median."
            if many
            else "A line a trial; the thick one won. A pale one was stopped early, one that ends in a cross failed."
        ),
        "parallel": (
            "A line a trial, from setting to setting to its PD; green are the best of each model, the thickest the "
            "best of all."
            + (f" Of many trials {DRAWN} are drawn." if sweep.trials["model"].value_counts().max() > DRAWN else "")
            + (f" Models after the first {PANELS} are left out." if len(varied) > PANELS else "")
            if varied
            else "No setting varied: every trial of a model was the same."
        ),
        "importance": _importance_note(sweep, found),
        "neighbours": (
            "Trials of the winner's model by how far their settings are from its own. Where the nearest are nearly as "
            "good, the choice is a sure one; a best one alone among bad ones may be luck."
            if sweep.settings[winner]
            else f"{winner} won, of which no setting varied: it has no neighbours."
        ),
        "saved": _saved_note(saved),
        "front": (
            "Ringed: trials that no other beats in both. A step of the line is the best PD that so much buys."
            if measured_objectives(sweep)
            else "All trials cost the same multiply-adds: there is nothing to weigh."
        ),
    }


def _importance_note(sweep: Tried, found: list[Importance]) -> str:
    told = [one for one in found if one.shares]
    silent = "; ".join(f"{one.group}: {one.why_not}" for one in found if not one.shares)
    if not told:
        return f"Nothing to be said of what mattered. {silent or 'No setting varied'}."
    foretold = ", ".join(f"{100 * (one.explained or 0):.0f} % ({one.group})" for one in told)
    return (
        f"By how much a random forest errs more on the PD at {sweep.common} of trials that it has not seen "
        "once a setting is shuffled: the share of all differences that it has a part in. The line is where nine in ten "
        f"of {DRAWS} forests lie; grey is what cannot be told from nothing. Of the differences the settings "
        f"foretell {foretold}." + (f" Left out: {silent}." if silent else "")
    )


def _saved_note(saved: pd.DataFrame) -> str:
    made, left = int(saved["steps"].sum()), int(saved["steps_saved"].sum())
    if not left:
        return f"{made:,} steps in all; no trial was stopped early."
    return (
        f"{made:,} steps in all. Had none of the {int(saved['stopped'].sum()):,} stopped trials been stopped, it would "
        f"have been {made + left:,}: {100 * left / (made + left):.0f} % were saved."
    )
