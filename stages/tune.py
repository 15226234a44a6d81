"""tune: a Ray Tune search over models and their hyperparameters."""

import sys
from pathlib import Path

from vidpred.cluster.connect import connected
from vidpred.cluster.remote import job_server, run_stage_elsewhere
from vidpred.config import load_params
from vidpred.tuning.sweep import sweep
from vidpred.workspace import home, locked, run_stage, stage_key, write_json


def main() -> None:
    if url := job_server():
        run_stage_elsewhere("tune", url, sys.argv[1:])
        return
    params = load_params()
    key = stage_key("tune")
    storage = home() / "tune"
    with locked(storage / key), connected():
        summary = sweep(
            Path("data/shards"),
            split=Path("data/split"),
            out=Path("data/tune"),
            best=Path("results/tune/best.yaml"),
            params=params,
            key=key,
            storage=storage,
        )
    write_json(Path("results/tune/summary.json"), summary)


if __name__ == "__main__":
    run_stage(main)
