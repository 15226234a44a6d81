"""What people see of a sweep: tables and charts in results/tune/, made from the table of trials alone.

In: `trials.parquet`, params.yaml. Out: trials.csv, curves.csv, importance.csv, neighbours.csv, saved.csv, front.csv; a
chart for each, and one of all settings, as SVG; notes.json with what a reader has to know of each, or why there is
nothing to draw, which its file then says in place of a chart. The same trials give the same bytes; times and machines,
which differ from run to run, are left to the report.
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

FEW = 3
"""Trials below which the table tells more than a chart of them."""
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
    silent = _silent(sweep, found, saved)
    notes = _notes(sweep, found, saved) | silent
    for name, table in tables.items():
        with atomic(folder / f"{name}.csv") as part:
            (table.rename(columns=_worded) if classify else table).to_csv(part, index=False)
    for name in CHARTS:
        svg = charts.empty_chart(notes[name], name) if name in silent else _drawn(name, sweep, found, saved)
        with atomic(folder / f"{name}.svg") as part:
            part.write_text(standalone(_worded(svg) if classify else svg), encoding="utf-8")
    told = {
        name: {"note": _worded(note) if classify else note, "drawn": name not in silent} for name, note in notes.items()
    }
    write_json(folder / "notes.json", told)


def _worded(text: str) -> str:
    """Of classifiers: trials are judged by the cross-entropy."""
    text = text.replace("perceptual_distance", "cross_entropy").replace("Perceptual distance", "Cross-entropy")
    text = text.replace("perceptual distance", "cross-entropy")
    return re.sub(r"\bPD\b", "cross-entropy", text)


def _order(models: Sequence[str]) -> Callable[[pd.Series[str]], pd.Series[int]]:
    places = {model: i for i, model in enumerate(models)}
    return lambda names: names.map(places)


def _silent(sweep: Tried, found: list[Importance], saved: pd.DataFrame) -> dict[str, str]:
    """Charts that would say nothing, and why."""
    silent = {}
    count, winner = len(sweep.numbers), sweep.winner
    of_winner = sum(sweep.model_of(number) == winner for number in sweep.numbers)
    if count < FEW:
        silent["curves"] = f"{count} trial{'s' * (count != 1)} with a result: the table says all of them."
    if not any(sweep.settings.values()):
        silent["parallel"] = "No setting varied: every trial of a model was the same."
    elif not _panels(sweep):
        silent["parallel"] = f"No model has {FEW} trials or more: the table says what was tried."
    if not any(one.shares for one in found):
        silent["importance"] = _nothing_mattered(found)
    if not sweep.settings[winner]:
        silent["neighbours"] = f"{winner} won, of which no setting varied: it has no neighbours."
    elif of_winner < FEW:
        silent["neighbours"] = f"{winner} won, of which there are only {of_winner} trials: a table compares them."
    if count < FEW or not (saved["steps_saved"].any() or len(saved) > 1):
        silent["saved"] = _saved_note(saved)
    if not measured_objectives(sweep):
        silent["front"] = "All trials cost the same multiply-adds: there is nothing to weigh."
    elif count < FEW:
        silent["front"] = "What a prediction costs stands in the table."
    return silent


def _panels(sweep: Tried) -> list[str]:
    """Models whose settings are drawn."""
    tried_often = sweep.ranked["model"].value_counts()
    return [m for m in sweep.models if sweep.settings[m] and tried_often.get(m, 0) >= FEW][:PANELS]


def _drawn(name: str, sweep: Tried, found: list[Importance], saved: pd.DataFrame) -> str:
    steps = "optimiser steps made, and those saved by early stopping"
    draw: dict[str, Callable[[], str]] = {
        "curves": lambda: charts.curves_chart(sweep),
        "parallel": lambda: charts.parallel_chart(sweep, _panels(sweep)),
        "importance": lambda: charts.importance_chart(found),
        "neighbours": lambda: charts.neighbours_chart(sweep),
        "saved": lambda: saved_chart(saved, spent="steps", saved="steps_saved", label=steps, name="saved"),
        "front": lambda: charts.front_chart(sweep),
    }
    return draw[name]()


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
    with_curve = sum(len(curve) > 0 for curve in sweep.curves.values())
    left_out = [model for model in sweep.models if sweep.settings[model] and model not in _panels(sweep)]
    return {
        "curves": (
            f"Of {with_curve:,} trials the best twelve as lines; a band is where eight in ten of a model's trials are "
            "at each step, its dashed line their median."
            if with_curve > DRAWN
            else "A line a trial; the thick one won. A pale one was stopped early, one that ends in a cross failed."
        ),
        "parallel": (
            "A line a trial, from setting to setting to its PD; green are the best of each model, the thickest the "
            "best of all."
            + (f" Of many trials {DRAWN} are drawn." if sweep.trials["model"].value_counts().max() > DRAWN else "")
            + (f" Not drawn: {', '.join(left_out)}." if left_out else "")
        ),
        "importance": _importance_note(sweep, found),
        "neighbours": (
            "Trials of the winner's model by how far their settings are from its own. Where the nearest are nearly as "
            "good, the choice is a sure one; a best one alone among bad ones may be luck."
        ),
        "saved": _saved_note(saved),
        "front": "Ringed: trials that no other beats in both. A step of the line is the best PD that so much buys.",
    }


def _nothing_mattered(found: list[Importance]) -> str:
    """Of the largest group."""
    if not found:
        return "Nothing to be said of what mattered: no setting varied."
    most = max(found, key=lambda one: one.trials)
    return f"Nothing to be said of what mattered; {most.group}: {most.why_not}."


def _importance_note(sweep: Tried, found: list[Importance]) -> str:
    silent = "; ".join(f"{one.group}: {one.why_not}" for one in found if not one.shares)
    foretold = ", ".join(f"{100 * (one.explained or 0):.0f} % ({one.group})" for one in found if one.shares)
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
