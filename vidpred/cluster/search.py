"""Trials on a Ray cluster: given points to try, run each where there is room and stop the hopeless early.

What a trial does, and where the points come from, is `tuning`'s business.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from vidpred.cluster.workers import run_workers
from vidpred.training.peers import Alone, Peers

log = logging.getLogger(__name__)

Point = Mapping[str, Any]
"""One configuration to try."""


class Reporter(Protocol):
    """How a trial speaks with the search."""

    def resume_from(self) -> Path | None:
        """A folder with what the trial last saved, where it is continued."""

    def __call__(self, figures: Mapping[str, Any], save: Callable[[Path], object]) -> None:
        """Reports figures and saves what is needed to go on from here into the folder that `save` is given."""


class Listener(Protocol):
    """Told, in the driver, how trials get on; they go by their place in the list of points."""

    def started(self, number: int) -> None: ...
    def reported(self, number: int, figures: Mapping[str, Any]) -> None: ...
    def ended(self, number: int, *, failed: bool) -> None: ...


@dataclass(frozen=True)
class Search:
    """What is searched and how hard."""

    name: str
    """Of the experiment; one of this name that was broken off is gone on with."""
    storage: Path
    """Where Ray keeps its state and the trials' checkpoints."""
    metric: str
    """Figure to make small."""
    max_steps: int
    grace_steps: int
    reduction_factor: int
    cpus_per_trial: float = 1
    gpus_per_trial: float | None = None
    """None: one where the cluster has any."""
    workers_per_trial: int = 1
    """Processes that share out the batches of a trial; each is set aside what is `per_trial`."""
    trials_at_once: int | None = None
    max_failures: int = 2
    """Times that a trial is started again after it, its worker or its machine broke."""


@dataclass
class TrialResult:
    """How a trial ended."""

    point: Point
    history: list[dict[str, Any]] = field(default_factory=list)
    """Figures of each report."""
    error: str = ""


class _Reporter:
    def resume_from(self) -> Path | None:
        checkpoint = tune.get_checkpoint()
        return Path(checkpoint.to_directory()) if checkpoint else None

    def __call__(self, figures: Mapping[str, Any], save: Callable[[Path], object]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="vidpred-trial-"))
        try:
            save(folder)
            tune.report(dict(figures), checkpoint=tune.Checkpoint.from_directory(str(folder)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


_LISTENERS: dict[str, Listener] = {}
"""The listener of each search that is running in this process. Ray pickles callbacks and brings back the pickled ones
when it restores a search; so a callback knows its search by name only, and finds today's listener here."""


class _Callback(tune.Callback):
    """Hands Ray's events to the listener of a search."""

    def __init__(self, search: str) -> None:
        self.search = search

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        _LISTENERS[self.search].started(trial.config["number"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        _LISTENERS[self.search].reported(trial.config["number"], result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        _LISTENERS[self.search].ended(trial.config["number"], failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        _LISTENERS[self.search].ended(trial.config["number"], failed=True)


def run_search(
    search: Search, points: Sequence[Point], trial: Callable[[Point, Reporter, Peers], None], *, listener: Listener
) -> list[TrialResult]:
    """Tries every point and returns how each got on, in the order of the points.

    Trials that report `step` and the metric are stopped by ASHA (Li et al. 2020, arXiv 1810.05934) where they are not
    among the best at a rung. Needs a connection (`cluster.connect`).

    Args:
        search: What and how hard.
        points: Configurations.
        trial: Runs in a worker, perhaps on another machine; so what it holds must survive pickling and its paths
            must be the same there. Of several workers each calls it, with the others as peers.
        listener: Told in this process of starts, reports and ends.
    """

    experiment = search.storage / search.name
    gpus = search.gpus_per_trial
    if gpus is None:
        gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0

    def run(config: dict[str, Any]) -> None:
        point = points[config["number"]]
        if search.workers_per_trial == 1:
            trial(point, _Reporter(), Alone())
            return
        run_workers(
            lambda report, peers: trial(point, report, peers),
            name=f"{search.name}-{config['number']}",
            storage=search.storage / "workers",
            workers=search.workers_per_trial,
            cpus=search.cpus_per_trial,
            gpus=gpus,
            max_failures=search.max_failures,
        )

    # with workers the trial itself only waits; but Ray wants it to take something
    takes: dict[str, float] = (
        {"CPU": search.cpus_per_trial, "GPU": gpus} if search.workers_per_trial == 1 else {"memory": 2**20}
    )
    trainable = tune.with_resources(run, takes)
    if experiment.exists() and tune.Tuner.can_restore(str(experiment)):
        log.info("going on with the search in %s", experiment)
        tuner = tune.Tuner.restore(str(experiment), trainable, resume_errored=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={"number": tune.grid_search(list(range(len(points))))},
            tune_config=tune.TuneConfig(
                metric=search.metric,
                mode="min",
                scheduler=ASHAScheduler(
                    time_attr="step",
                    max_t=search.max_steps,
                    grace_period=search.grace_steps,
                    reduction_factor=search.reduction_factor,
                ),
                max_concurrent_trials=_at_once(search, gpus),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=search.name,
                storage_path=str(search.storage),
                callbacks=[_Callback(search.name)],
                failure_config=tune.FailureConfig(max_failures=search.max_failures),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                verbose=0,
            ),
        )
    _LISTENERS[search.name] = listener
    try:
        grid = tuner.fit()
    finally:
        del _LISTENERS[search.name]
    ended = {int((one.config or {})["number"]): one for one in (grid[i] for i in range(len(grid)))}
    return [_result(ended[number], points[number]) for number in sorted(ended)]


def _at_once(search: Search, gpus: float) -> int | None:
    """How many trials may run; None: Ray sees to it, but not with workers, for whom it sets resources aside later."""
    if search.workers_per_trial == 1:
        return search.trials_at_once
    there = ray.cluster_resources()
    room = [there.get(kind, 0) / each for kind, each in (("CPU", search.cpus_per_trial), ("GPU", gpus)) if each > 0]
    fits = max(1, int(min(room)) // search.workers_per_trial)
    return min(fits, search.trials_at_once or fits)


def _result(found: Any, point: Point) -> TrialResult:
    frame = found.metrics_dataframe
    history = [] if frame is None else frame.to_dict("records")
    return TrialResult(point=point, history=history, error=str(found.error or "").strip())
