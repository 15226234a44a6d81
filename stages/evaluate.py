"""evaluate: on test, beside copy_last and flow_gate."""

import json
from pathlib import Path

import pandas as pd

from vidpred.config import load_params
from vidpred.evaluation.evaluate import evaluate, headline
from vidpred.training.device import choose_device, set_threads
from vidpred.workspace import run_stage, write_json


def main() -> None:
    params = load_params()
    set_threads(params.resources.threads)
    kind = json.loads(Path("results/split/summary.json").read_text())["kind"]
    out = Path("data/evaluation")
    figures = evaluate(
        Path("models/trained"),
        shards_folder=Path("data/shards"),
        split=Path("data/split"),
        by_time=kind == "time",
        out=out,
        params=params,
        device=choose_device(params.resources.device),
    )
    write_json(Path("results/evaluate/metrics.json"), figures)
    write_json(Path("results/evaluate/headline.json"), headline(figures))
    curves = pd.read_parquet(out / "rollout.parquet")
    curves.to_csv("results/evaluate/rollout.csv", index=False)


if __name__ == "__main__":
    run_stage(main)
