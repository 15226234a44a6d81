"""evaluate: on test, beside copy_last and flow_gate; a classifier beside always saying the commonest class."""

import json
from pathlib import Path

import pandas as pd

from vidpred.config import load_params
from vidpred.evaluation.classify import evaluate_classes, headline_of_classes
from vidpred.evaluation.evaluate import evaluate, headline
from vidpred.training.device import choose_device, set_threads
from vidpred.workspace import run_stage, write_json


def main() -> None:
    params = load_params()
    set_threads(params.resources.threads)
    kind = json.loads(Path("results/split/summary.json").read_text())["kind"]
    out = Path("data/evaluation")
    classify = params.task.kind == "classify"
    figures = (evaluate_classes if classify else evaluate)(
        Path("models/trained"),
        shards_folder=Path("data/shards"),
        split=Path("data/split"),
        by_time=kind == "time",
        out=out,
        params=params,
        device=choose_device(params.resources.device),
    )
    write_json(Path("results/evaluate/metrics.json"), figures)
    write_json(Path("results/evaluate/headline.json"), (headline_of_classes if classify else headline)(figures))
    # DVC wants the file: nothing is rolled out where nothing is predicted
    none = pd.DataFrame(columns=["step", "perceptual_distance", "model"])
    curves = none if classify else pd.read_parquet(out / "rollout.parquet")
    curves.to_csv("results/evaluate/rollout.csv", index=False)


if __name__ == "__main__":
    run_stage(main)
