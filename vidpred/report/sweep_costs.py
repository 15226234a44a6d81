"""What a sweep took and what early stopping saved, by model: in steps, and in seconds where these are known.

In: the trials' models, statuses and steps; the record of seconds, which the machine has on which the sweep was run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vidpred.report.charts import PALETTE, new_axes, styled, to_svg
from vidpred.workspace import atomic


def whole_steps(trials: pd.DataFrame, steps: int) -> pd.Series[float]:
    """Of each trial, had it not been stopped: its own, as far as it is known, or `steps`."""
    own = trials.get("steps", pd.Series(np.nan, trials.index)).astype(float)
    return own.fillna(own.median()).fillna(steps)


def saved_table(trials: pd.DataFrame, steps: int) -> pd.DataFrame:
    """A row a model: its trials, the steps that they made, and those that stopping early saved.

    Args:
        trials: With columns model, status and step; models in their order.
        steps: Of a trial that is not stopped, where it has none of its own.
    """
    rows = []
    left = (whole_steps(trials, steps) - trials["step"]).clip(lower=0).where(trials["status"] == "stopped", 0)
    for model, of_model in trials.groupby("model", sort=False):
        stopped = of_model[of_model["status"] == "stopped"]
        made, saved = int(of_model["step"].sum()), int(left[of_model.index].sum())
        rows.append(
            {
                "model": model,
                "trials": len(of_model),
                "stopped": len(stopped),
                "failed": int((of_model["status"] == "failed").sum()),
                "steps": made,
                "steps_saved": saved,
                "share_saved": round(saved / ((made + saved) or 1), 4),
            }
        )
    return pd.DataFrame(rows)


def costs_table(trials: pd.DataFrame, costs: pd.DataFrame, steps: int) -> pd.DataFrame:
    """A row a model: the seconds of its trials, and an estimate of those that stopping early saved, each trial at its
    own pace.

    Args:
        trials: With columns trial, model, status and step; models in their order.
        costs: With columns trial, cpu_seconds, gpu_seconds and restarts.
        steps: Of a trial that is not stopped, where it has none of its own.
    """
    rows = _with_saved(trials, costs, steps)
    summed = ["cpu_seconds", "cpu_seconds_saved", "gpu_seconds", "gpu_seconds_saved", "restarts"]
    by_model = rows.groupby("model", sort=False)
    return by_model[summed].sum().assign(trials=by_model.size()).reset_index()


def write_costs(trials: pd.DataFrame, costs: pd.DataFrame, steps: int, path: Path) -> None:
    """A row a trial, as CSV: its seconds, those that stopping it saved, restarts and machine. See `costs_table`."""
    shown = ["trial", "model", "status", "step", "cpu_seconds", "cpu_seconds_saved", "gpu_seconds", "gpu_seconds_saved"]
    table = _with_saved(trials, costs, steps)
    table = table[[*shown, *(name for name in ("restarts", "node") if name in table)]].round(1)
    with atomic(path) as part:
        table.to_csv(part, index=False)


def _with_saved(trials: pd.DataFrame, costs: pd.DataFrame, steps: int) -> pd.DataFrame:
    rows = trials[["trial", "model", "status", "step"]].assign(whole=whole_steps(trials, steps))
    rows = rows.merge(costs, on="trial", how="left")
    left = (rows["whole"] - rows["step"]) / rows["step"].clip(lower=1)
    missing = left.clip(lower=0).where(rows["status"] == "stopped", 0.0)
    for kind in ("cpu", "gpu"):
        rows[f"{kind}_seconds"] = rows[f"{kind}_seconds"].astype(float).fillna(0.0)
        rows[f"{kind}_seconds_saved"] = rows[f"{kind}_seconds"] * missing
    return rows


def saved_chart(table: pd.DataFrame, *, spent: str, saved: str, label: str, name: str) -> str:
    """A bar a model: what its trials took, and behind it, pale, what stopping early saved.

    Args:
        table: With a column model and the two others.
        spent: Column of what was taken.
        saved: Column of what was not.
        label: Of the axis.
        name: Of the chart.
    """
    shown = table.head(12)
    with styled():
        figure, axes = new_axes(5.2, 0.9 + 0.32 * len(shown))
        places = range(len(shown))
        axes.barh(places, shown[spent], height=0.62, color=PALETTE[2])
        axes.barh(places, shown[saved], left=shown[spent], height=0.62, color=PALETTE[2], alpha=0.25)
        for i, (made, left) in enumerate(zip(shown[spent], shown[saved], strict=True)):
            if left > 0:
                text = f"{100 * left / (made + left):.0f} % saved"
                axes.annotate(
                    text, (made + left, i), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
                )
        axes.set_yticks(places, list(shown["model"]))
        axes.margins(x=0.22)
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        return to_svg(figure, f"{label} by model, and what early stopping saved", name)
