"""Brings files from a folder, a list, an archive, a dataset or a recipe under names of our own."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from vidpred.config import load_params
from vidpred.data.fetch import fetch
from vidpred.workspace import cores, home, locked, run_stage, write_json


def main() -> None:
    """Writes data/raw and results/fetch/summary.json."""
    parser = argparse.ArgumentParser(prog="python -m stages.fetch", description=__doc__)
    parser.add_argument(
        "--retry",
        nargs="+",
        action="extend",
        default=[],
        metavar="REASON",
        help="try these failed downloads again, such as timeout, 404 or all; by default those that may pass with time",
    )
    retry = parser.parse_args().retry
    params = load_params()
    workers = params.resources.workers or cores()
    with locked(home() / "fetch"):  # when dvc is killed, its stage goes on: two must not write the same files
        summary = fetch(params.fetch, Path("data/raw"), home() / "downloads", workers=workers, retry=retry)
        write_json(Path("results/fetch/summary.json"), summary)
    logging.getLogger(__name__).info(
        "%d inputs: %d fetched (%.1f MB), %d failed",
        summary["inputs"],
        summary["fetched"],
        summary["bytes"] / 1e6,
        summary["failed"],
    )


if __name__ == "__main__":
    run_stage(main)
