"""tune: a Ray Tune search over models and their hyperparameters; goes on where it was broken off."""

import argparse
import os
from pathlib import Path

from vidpred.cluster.connect import connected
from vidpred.config import load_params
from vidpred.tuning.sweep import Place, sweep
from vidpred.workspace import home, run_stage, stage_key, write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retry-failed", action="store_true", help="try trials again that failed")
    place = Place(
        shards=Path("data/shards"),
        split=Path("data/split"),
        out=Path("data/tune"),
        best=Path("results/tune/best.yaml"),
        storage=home() / "tune",
    )
    summary = sweep(
        place,
        load_params(),
        key=stage_key("tune"),
        connect=connected,
        retry_failed=parser.parse_args().retry_failed,
        wait="DVC_EXP_NAME" in os.environ,  # experiments side by side may share a sweep
    )
    write_json(Path("results/tune/summary.json"), summary)


if __name__ == "__main__":
    run_stage(main)
