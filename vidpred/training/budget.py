"""`train.minutes`: a budget of time, turned into steps once.

The first steps of every part of a run (its stages, its horizons) are taken with a model that is thrown away, and timed.
So the run itself is one of so many steps: the same weights as `train.steps` would give, and the same after any
interruption, since the number is kept in the run's folder.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vidpred.training.curriculum import batches, horizons
from vidpred.training.device import keep_memory
from vidpred.training.loop import Trainer
from vidpred.workspace import atomic

log = logging.getLogger(__name__)

PROVISIONAL = 10_000
"""Steps of the run that is timed: only the shares of its parts count."""
WARM, TIMED = 2, 6
"""Steps of a part that are not timed, and those that are."""
FILE = "budget.json"


def steps_within(minutes: float, build: Callable[[int, Path], Trainer], folder: Path) -> int:
    """How many steps a run may have, validations included.

    Args:
        minutes: Of training on this machine as busy as it is now.
        build: From steps and a folder to the run, not begun.
        folder: The run's own; what was found before is kept there and given again.
    """
    kept = folder / FILE
    if kept.exists():
        return int(json.loads(kept.read_text())["steps"])
    keep_memory()  # as the run will: steps are up to a quarter faster
    with tempfile.TemporaryDirectory(prefix="vidpred-budget-") as elsewhere:
        step, validation, every = _timed(build(PROVISIONAL, Path(elsewhere)))
    steps = max(1, math.floor(60 * minutes / (step + validation / every)))
    folder.mkdir(parents=True, exist_ok=True)
    found = {"minutes": minutes, "steps": steps, "seconds_per_step": step, "seconds_per_validation": validation}
    with atomic(kept) as new:
        new.write_text(json.dumps(found, indent=2) + "\n")
    log.info(
        "%g minutes are %d steps, at %.3f s a step and %.1f s a validation (kept in %s)",
        minutes, steps, step, validation, FILE,
    )  # fmt: skip
    return steps


def _timed(trainer: Trainer) -> tuple[float, float, int]:
    """Seconds of a step, the mean over a run; seconds of a validation; steps between two of these."""
    mean = 0.0
    for first, last in parts_of(trainer):
        trainer.jump(first)
        began = 0.0
        coming = batches(trainer.data, trainer.params, trainer.stored, first=first, steps=trainer.steps)
        for i, (_, sample) in enumerate(itertools.islice(coming, WARM + TIMED)):
            if i == WARM:
                began = time.perf_counter()
            trainer.train_step(sample.frames, sample.flow, sample.labels)
        mean += (time.perf_counter() - began) / TIMED * (last - first) / trainer.steps
    began = time.perf_counter()
    trainer.validate()
    return mean, time.perf_counter() - began, trainer.params.evaluate_every


def parts_of(trainer: Trainer) -> list[tuple[int, int]]:
    """First step and end of every part of a run whose steps are alike, of one stage and one horizon."""
    borders = {last for _, _, last in horizons(trainer.data, trainer.params, trainer.steps)}
    borders |= {stage.last for stage in trainer.plan} | {0}
    ordered = sorted(borders)
    return list(itertools.pairwise(ordered))
