"""Sweeps in processes of their own, whose time and memory tune.py measures, and the same trials by hand.

    python -m benchmarks.sweeps WHAT FOLDER     params.yaml, shards/ and split/ are in FOLDER; prints JSON

`sweep`: the sweep. `trivial`: the same, with a trial that computes nothing. `alone N`: the Nth trial of the sweep by a
plain call in this process.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from vidpred.cluster.connect import connected
from vidpred.cluster.contract import Point, Reporter
from vidpred.config import Params, load_params
from vidpred.data.clips import task_of
from vidpred.data.shards import Shards
from vidpred.training.peers import Alone, Peers
from vidpred.tuning import sweep as sweeps
from vidpred.tuning.plan import planned
from vidpred.tuning.trial import Trial

_LOOKS = 0.5
"""Seconds between two looks at this process's memory."""


@dataclass(frozen=True)
class Trivial:
    """A trial that reports without computing: what is left is the sweep's own."""

    shards: Path
    split: Path
    params: Params

    def __call__(self, point: Point, report: Reporter, peers: Peers) -> None:
        """Two reports, of a PD that the learning rate decides."""
        tune = self.params.tune
        found = 10 + float(np.log(float(point["train"].get("learning_rate", 3e-3)) / 4e-3)) ** 2
        for step in range(tune.grace_steps, tune.steps + 1, tune.grace_steps):
            figures = {"step": step, "steps": tune.steps, "perceptual_distance": found * (1 + 1 / step), "loss": 0.1}
            report(figures | {"val_copy_last": 30.0, "val_gain": 0.5, "parameters": 1, "operations": 1}, _save)


def _save(folder: Path) -> None:
    (folder / "step-0").write_bytes(b"0")


def run(folder: Path) -> dict[str, Any]:
    """The sweep of a folder; how this process's memory grew with its trials."""
    place = sweeps.Place(
        shards=folder / "shards",
        split=folder / "split",
        out=folder / "tune",
        best=folder / "results/best.yaml",
        storage=folder / "runs",
    )
    with _watched(folder / "runs/bench/trials") as memory:
        sweeps.sweep(place, load_params(folder / "params.yaml"), key="bench", connect=connected)
    return {"memory": memory}


@contextmanager
def _watched(trials: Path) -> Iterator[list[tuple[int, int]]]:
    """Inside, a thread notes [trials so far, bytes that this process holds] every now and then."""
    noted: list[tuple[int, int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOKS):
            if trials.is_dir() and (held := held_bytes()) is not None:
                noted.append((sum(1 for _ in trials.iterdir()), held))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield noted
    finally:
        over.set()
        thread.join()


def held_bytes() -> int | None:
    """Bytes of memory that this process holds; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


class _NoReports:
    """A `Reporter` for a trial by hand: it saves as often as in a sweep, into a folder that goes again."""

    def resume_from(self) -> Path | None:
        """It starts anew."""
        return None

    def __call__(self, figures: Mapping[str, Any], save: Callable[[Path], object]) -> None:
        with tempfile.TemporaryDirectory(prefix="vidpred-bench-") as folder:
            save(Path(folder))


def alone(folder: Path, number: int) -> dict[str, Any]:
    """One trial by hand; the seconds that it took, without Python's start and imports."""
    params = load_params(folder / "params.yaml")
    task = task_of(Shards(folder / "shards"), params.task)
    point = planned(params, task, name="bench", storage=folder, best=folder / "best.yaml").suggester
    points = [point.suggest(i) for i in range(number + 1)]
    trial = Trial(shards=folder / "shards", split=folder / "split", params=params)
    began = time.monotonic()
    trial(points[number] or {}, _NoReports(), Alone())
    return {"seconds": time.monotonic() - began}


def main() -> None:
    """Arguments: what, a folder, and of `alone` which trial."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "alone":
        told = alone(folder, int(sys.argv[3]))
    else:
        if what == "trivial":
            sweeps.Trial = Trivial  # type: ignore[assignment,attr-defined]  # the sweep around it is the real one
        told = run(folder)
    Console(soft_wrap=True).print(json.dumps(told), highlight=False, markup=False)


if __name__ == "__main__":
    main()
