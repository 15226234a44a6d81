"""register: a version in the MLflow registry; champion only if it beats copy_last and the champion."""

import json
import logging
from pathlib import Path

from vidpred.config import load_params
from vidpred.data.shards import Shards
from vidpred.models.files import load_model
from vidpred.tracking.registry import Bench, read_bench_windows, register
from vidpred.training.device import choose_device, set_threads
from vidpred.types import Classifier
from vidpred.workspace import run_stage, stage_key, write_json


def _leave_out(trained: Path) -> None:
    """Says that classifiers are not registered; the pipeline goes on to its report."""
    reason = "not registered: this version registers models that predict frames only; the model is in models/trained"
    logging.getLogger(__name__).warning("%s", reason)
    info = load_model(trained, Classifier)[1]
    receipt = {
        "name": "",
        "model": info["name"],
        "weights_sha256": info["weights_sha256"],
        "identity": "",
        "alias": None,
        "reason": reason,
        "champion": {},
        "figures": {},
    }
    write_json(Path("results/register/receipt.json"), receipt)


def main() -> None:
    params = load_params()
    if params.task.kind == "classify":
        _leave_out(Path("models/trained"))
        return
    set_threads(params.resources.threads)
    trained = Path("models/trained")
    info = load_model(trained)[1]
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
        name=params.register_.name,
        run_key=stage_key("train"),
        bench=bench,
        pictures=Path("data/evaluation/pictures"),
        evaluation=Path("data/evaluation"),
    )
    write_json(Path("results/register/receipt.json"), receipt)


if __name__ == "__main__":
    run_stage(main)
