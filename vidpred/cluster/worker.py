"""A trial in its worker: what it reports, what it goes on from, and how its failure is told.

Whatever the trial raises is reported as figures with `failed`: so the reason comes with the report, and the worker is
there for the next trial.
"""

from __future__ import annotations

import json
import math
import os
import traceback
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from vidpred.cluster.clock import Clock, saved, whereabouts
from vidpred.cluster.contract import Point, Search, Trial
from vidpred.cluster.failures import in_words
from vidpred.cluster.scratch import scratch, tidy
from vidpred.cluster.workers import run_workers
from vidpred.training.device import give_back_memory
from vidpred.training.peers import Alone

_THREAD_SECONDS = "60"
"""That a trial that was stopped has to let go of its worker; Ray's 2 are too few on a busy machine."""


class _Reporter:
    """To Ray Tune."""

    def __init__(self, resume: str | None, folder: Path) -> None:
        self._resume, self._folder, self.clock, self.step = resume, folder, Clock(), 0

    def resume_from(self) -> Path | None:
        checkpoint = tune.get_checkpoint() or (tune.Checkpoint(self._resume) if self._resume else None)
        if checkpoint is None:
            return None
        folder = Path(checkpoint.to_directory(self._folder / "resume"))
        self.clock.go_on(folder)
        return folder

    def __call__(self, figures: Mapping[str, Any], save: Callable[[Path], object]) -> None:
        self.step = int(figures["step"])
        with saved(save, self.clock) as folder:
            told = dict(figures) | {"seconds": self.clock.seconds} | whereabouts()
            tune.report(told, checkpoint=tune.Checkpoint.from_directory(str(folder)))


def trainable(search: Search, trial: Trial) -> Callable[[dict[str, Any]], None]:
    """What Ray Tune runs in a worker.

    Its config has `number`; `point`, as JSON; `gpus`, of it or of each of its workers; `resume`, a path or URI of a
    checkpoint or None; and `again`, as JSON: what was reported with that, or "".
    """
    name, metric, storage, workers = search.name, search.metric, search.storage, search.workers_per_trial
    cpus, max_failures = search.cpus_per_trial, search.max_failures

    def run(config: dict[str, Any]) -> None:
        os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = _THREAD_SECONDS
        tidy()
        give_back_memory()  # of the trial before
        point: Point = json.loads(config["point"])
        with scratch() as folder:
            attempt(config, point, _Reporter(config["resume"], Path(folder)))

    def attempt(config: dict[str, Any], point: Point, reporter: _Reporter) -> None:
        try:
            if config["resume"] and config["again"] and tune.get_checkpoint() is None:
                # as if it had just come this far: who decides by reports does not know that it was broken off
                tune.report(json.loads(config["again"]), checkpoint=tune.Checkpoint(config["resume"]))
            if workers == 1:
                trial(point, reporter, Alone())
                return
            run_workers(
                lambda report, peers: trial(point, report, peers),
                # a name of its own: Ray Train would go on with what has the same
                name=f"{name}-{config['number']}-{uuid.uuid4().hex[:8]}",
                storage=storage / "workers",
                workers=workers,
                cpus=cpus,
                gpus=config["gpus"],
                max_failures=max_failures,
                resume=config["resume"],
            )
        except Exception as error:  # noqa: BLE001 - told in the report; SystemExit, by which Ray ends a trial, is none
            told = {"failed": in_words(error), "traceback": traceback.format_exc(limit=-30)}
            del error
            give_back_memory()
            tune.report(told | {"step": reporter.step, metric: math.nan, "seconds": reporter.clock.seconds})

    return run
