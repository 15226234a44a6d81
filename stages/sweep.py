"""Stage `sweep`: tables and charts of what tune found, in results/tune/."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd

from vidpred.config import load_params
from vidpred.report.sweep import write_sweep
from vidpred.report.sweep_costs import write_costs
from vidpred.workspace import home, run_stage


def main() -> None:
    """Reads the trials and writes what people look at."""
    folder = Path("results/tune")
    params = load_params()
    trials = pd.read_parquet("data/tune/trials.parquet")
    storage = home() / "tune" / json.loads((folder / "summary.json").read_text())["sweep"]
    costs = pd.read_parquet(path) if (path := storage / "costs.parquet").is_file() else None
    shown = trials
    if costs is not None:  # not where another machine ran the sweep
        write_costs(trials, costs, params.tune.steps, folder / "costs.csv")
        if "latency_ms" in params.tune.objectives:
            shown = trials.merge(costs[["trial", "latency_ms"]], on="trial", how="left")
    write_sweep(shown, params.model_dump(mode="json"), folder)
    logging.getLogger(__name__).info("%s: %d trials in tables and charts", folder, len(trials))


if __name__ == "__main__":
    run_stage(main)
