"""register: a version in the MLflow registry; champion only if it beats its baseline and the champion."""

import json
from pathlib import Path

from vidpred.config import load_params
from vidpred.data.shards import Shards
from vidpred.models.files import load_model
from vidpred.tracking.registry import Bench, read_bench_windows, register
from vidpred.training.device import choose_device, set_threads
from vidpred.types import Model
from vidpred.workspace import run_stage, stage_key, write_json


def main() -> None:
    params = load_params()
    set_threads(params.resources.threads)
    trained = Path("models/trained")
    info = load_model(trained, Model)[1]
    bench = Bench(
        info=info,
        metrics=json.loads(Path("results/evaluate/metrics.json").read_text()),
        windows=read_bench_windows(Path("data/evaluation/windows.parquet"), info["name"]),
        shards=Shards("data/shards"),
        split=Path("data/split"),
        flow=params.flow,
        batch_size=params.evaluate.batch_size,
        crop=params.evaluate.crop,
        device=choose_device(params.resources.device),
    )
    receipt = register(
        trained,
        name=params.registered,
        run_key=stage_key("train"),
        bench=bench,
        pictures=Path("data/evaluation/pictures"),
        evaluation=Path("data/evaluation"),
    )
    write_json(Path("results/register/receipt.json"), receipt)


if __name__ == "__main__":
    run_stage(main)
