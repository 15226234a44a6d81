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
    trials = pd.read_parquet("data/tune/trials.parquet")
    params = load_params()
    write_sweep(trials, params.model_dump(mode="json"), folder)
    key = json.loads((folder / "summary.json").read_text()).get("sweep", "unknown")
    costs = home() / "tune" / key / "costs.parquet"
    if costs.is_file():  # not where another machine ran the sweep
        write_costs(trials, pd.read_parquet(costs), params.tune.steps, folder / "costs.csv")
    logging.getLogger(__name__).info("%s: %d trials in tables and charts", folder, len(trials))


if __name__ == "__main__":
    run_stage(main)
