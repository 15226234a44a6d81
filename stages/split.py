"""Decides which clips train, which choose and which judge."""

from __future__ import annotations

import logging
from pathlib import Path

from vidpred.config import load_params
from vidpred.data.shards import Shards
from vidpred.data.split import figures, make_split, write_split
from vidpred.workspace import run_stage, write_json


def main() -> None:
    """Writes data/split and results/split/summary.json."""
    params = load_params()
    clips = Shards("data/shards").clips
    kind, split = make_split(clips, params.split, span=params.task.span)
    write_split(Path("data/split"), split)
    summary = figures(clips, split, kind=kind, asked=params.split.kind)
    write_json(Path("results/split/summary.json"), summary)
    counts = ", ".join(f"{count} {part}" for part, count in summary["clips"].items())
    logging.getLogger(__name__).info("split by %s: clips: %s", kind, counts)


if __name__ == "__main__":
    run_stage(main)
