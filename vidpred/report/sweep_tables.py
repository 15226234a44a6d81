"""A sweep in tables: its trials, their curves, the winner's neighbours, the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vidpred.report.sweep_settings import Tried

NEIGHBOURS = 6
DRAWN = 100
"""Trials whose curves are kept and drawn one by one at the most: the best, and evenly from the others."""
POINTS = 40
"""Of a curve at the most."""
OBJECTIVES = {"operations": "multiply-adds of a predicted frame", "latency_ms": "latency of a prediction, ms"}
"""What PD is weighed against, where it was measured."""


def trials_table(tried: Tried) -> pd.DataFrame:
    """A row a trial, best first, those without a result last, with a column for every setting; `steps` is what a trial
    would have made, where they differ in that."""
    rest = tried.trials.index.difference(tried.ranked.index)
    rows = tried.trials.loc[[*tried.ranked.index, *rest]]
    figures = [
        name
        for name in ("perceptual_distance", "val_gain", "val_top1", "val_psnr_db", "loss", "parameters", *OBJECTIVES)
        if name in rows and rows[name].notna().any()
    ]
    table = rows[["model", "status", "step", *["steps"] * tried.by_share, *figures]].copy()
    for name in figures:
        table[name] = [float(f"{v:.5g}") if pd.notna(v) else v for v in table[name]]
    for name in ("parameters", "operations"):
        if name in table:
            table[name] = table[name].round().astype("Int64")
    drawn = [setting for of_model in tried.drawn.values() for setting in of_model]
    for place in dict.fromkeys(setting.place for setting in drawn):
        of_all = [setting.values for setting in drawn if setting.place == place]
        table[place] = pd.concat(of_all).map(lambda v: float(f"{v:.4g}") if isinstance(v, float) else v)
    table["error"] = rows["error"]
    return table.rename_axis("trial").reset_index()


def drawn_trials(tried: Tried, most: int = DRAWN) -> list[int]:
    """Numbers of the trials that are drawn one by one: all, or the best and as many evenly from the others."""
    every = [*tried.numbers, *sorted(set(tried.curves) - set(tried.numbers))]
    with_curve = [number for number in every if len(tried.curves[number])]
    if len(with_curve) <= most:
        return with_curve
    best, others = with_curve[: most // 2], with_curve[most // 2 :]
    return best + [others[i] for i in np.linspace(0, len(others) - 1, most - len(best)).astype(int)]


def curves_table(tried: Tried) -> pd.DataFrame:
    """A row a trial that is drawn and validation; the last column, which `dvc plots` draws, judges them."""
    rows = []
    for number in drawn_trials(tried):
        curve = tried.curves[number]
        kept = np.unique(np.linspace(0, len(curve) - 1, min(POINTS, len(curve))).astype(int))
        row = tried.trials.loc[number]
        rows += [
            {
                "trial": number,
                "model": row["model"],
                "status": row["status"],
                "step": int(step),
                "val_perceptual_distance": round(float(distance), 4),
            }
            for step, distance in curve[kept]
            if np.isfinite(distance)
        ]
    return pd.DataFrame(rows, columns=["trial", "model", "status", "step", "val_perceptual_distance"])


def distances_from_best(tried: Tried) -> pd.Series[float]:
    """How far every trial of the winner's model is from it: the mean of its settings, each from 0 to 1 (Gower 1971)."""
    settings = tried.settings[tried.winner]
    if not settings:
        return pd.Series(dtype=float)
    return pd.concat([setting.apart(tried.best) for setting in settings], axis=1).mean(axis=1)


def neighbours_table(tried: Tried) -> pd.DataFrame:
    """The winner and the trials of its model that are nearest to it, with their settings."""
    apart = distances_from_best(tried)
    others = apart.drop(tried.best, errors="ignore").sort_values(kind="stable").head(NEIGHBOURS)
    numbers = [tried.best, *others.index]
    rows = tried.trials.loc[numbers]
    table = pd.DataFrame(
        {
            "trial": numbers,
            "distance": [0.0, *others.round(4)],
            "val_perceptual_distance": rows["perceptual_distance"].round(4).to_list(),
            "status": rows["status"].to_list(),
            "step": rows["step"].to_list(),
        }
    )
    for setting in tried.settings[tried.winner]:
        table[setting.name] = [setting.told(int(number)) for number in numbers]
    return table


def front(tried: Tried, objective: str) -> list[int]:
    """Trials that no other beats in both PD and an objective: from the cheapest to the best."""
    rows = tried.ranked
    if objective not in rows:
        return []
    rows = rows[rows[objective].notna()].sort_values([objective, "perceptual_distance"], kind="stable")
    better = rows["perceptual_distance"].cummin().diff().ne(0)  # than all that cost less; of the first it is true
    return [int(number) for number in rows["trial"][better]]


def front_table(tried: Tried) -> pd.DataFrame:
    """A row a trial on the front of PD and `operations`, and of `latency_ms` where that was measured; PD comes last."""
    tables = [
        pd.DataFrame(
            {
                "objective": objective,
                "value": [float(f"{v:.5g}") for v in rows[objective]],
                "trial": rows["trial"].to_list(),
                "model": rows["model"].to_list(),
                "val_perceptual_distance": rows["perceptual_distance"].round(4).to_list(),
            }
        )
        for objective in measured_objectives(tried)
        for rows in [tried.trials.loc[front(tried, objective)]]
    ]
    none = pd.DataFrame(columns=["objective", "value", "trial", "model", "val_perceptual_distance"])
    return pd.concat(tables) if tables else none


def measured_objectives(tried: Tried) -> Sequence[str]:
    """Those of `OBJECTIVES` in which trials differ."""
    return [name for name in OBJECTIVES if name in tried.ranked and tried.ranked[name].nunique() > 1]
