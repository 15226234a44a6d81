"""Trials on a Ray cluster: given what has been tried and who names points, run what remains.

In: a `Search`, a `Suggester`, a `Trial` and the past (all of `contract.py`). Out: events to a `Listener`. What a trial
does, where points come from and what is kept is `tuning`'s business.

Every run is a new one for Ray: trials that were broken off are new trials of Ray's, which begin by reporting again what
they last reported, with its checkpoint, and go on from there. So nothing of Ray's own state need survive.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.experiment import Experiment
from ray.tune.search import SearchAlgorithm

from vidpred.cluster.budget import Budget
from vidpred.cluster.contract import (
    ENDED,
    Figures,
    Listener,
    Outcome,
    PastTrial,
    Point,
    Search,
    Spent,
    Status,
    Suggester,
    Trial,
)
from vidpred.cluster.controller import Controller, SearchTrial
from vidpred.cluster.orphans import Orphans
from vidpred.cluster.population import Population
from vidpred.cluster.room import Room
from vidpred.cluster.schedulers import STOPPING, Watched, trial_id
from vidpred.cluster.scratch import tidy
from vidpred.cluster.worker import trainable

log = logging.getLogger(__name__)

_USED_UP = {"minutes": "the minutes are used up", "gpu_hours": "the GPU-hours are used up"}


def run_search(
    search: Search,
    suggester: Suggester,
    trial: Trial,
    *,
    listener: Listener,
    past: Sequence[PastTrial] = (),
    spent: Spent | None = None,
) -> Outcome:
    """Runs what remains of a search. Needs a connection (`cluster.connect`).

    Args:
        search: What and how hard.
        suggester: Names points.
        trial: Tries one.
        listener: Told in this process of all that happens.
        past: What is on record, in any order.
        spent: Time used up by earlier processes.

    Raises:
        UserError: the scheduler cannot do what is asked.
        KeyboardInterrupt: broken off; trials that ran are told as `interrupted`.
    """
    past = sorted(past, key=lambda one: one.number)
    scheduler = (
        Population(search)
        if search.scheduler in ("pbt", "pb2")
        else Watched(STOPPING[search.scheduler](search), search)
    )
    scheduler.replay(past)
    for one in past:
        if one.status in ENDED:
            suggester.learn(one)
    budget = Budget(search, spent or Spent(), listener.spent)
    run = _Run(search, suggester, listener, scheduler, past)
    return run.until_done(trial, budget)


class _Numbers(SearchAlgorithm):
    """Hands Ray the trials: first those to go on with, then new ones while there is budget and room."""

    def __init__(self, run: _Run, past: Sequence[PastTrial], room: Callable[[], int | None]) -> None:
        self._run, self._room = run, room
        self._going_on = deque(one for one in past if one.status not in ENDED)
        self._taken = {one.number for one in past}
        self._next = 0
        self._open: set[str] = set()
        self._coming: tuple[int, Point] | None = None
        self.no_more_points = False

    def next_trial(self) -> SearchTrial | None:
        room = self._room()
        if (room is not None and len(self._open) >= room) or self.is_finished():
            return None
        if self._going_on:
            one = self._going_on.popleft()
            made = self._run.make(one.number, one.point, one)
        else:
            assert self._coming is not None
            made = self._run.make(*self._coming, None)
            self._coming = None
            self._next += 1
        self._open.add(made.trial_id)
        return made

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._open.discard(trial_id)

    def is_finished(self) -> bool:
        return self._finished or not (self._going_on or self._coming or self._look())

    def _look(self) -> bool:
        """Whether there is a new trial; if so, it has its point."""
        while self._next in self._taken:
            self._next += 1
        if self.no_more_points or (self._run.search.trials is not None and self._next >= self._run.search.trials):
            return False
        point = self._run.suggester.suggest(self._next)
        if point is None:
            self.no_more_points = True
            return False
        self._coming = self._next, point
        return True


class _Run(tune.Callback):
    """One search in this process: makes Ray's trials, and passes on what Ray tells of them."""

    def __init__(
        self, search: Search, suggester: Suggester, listener: Listener, scheduler: Watched, past: Sequence[PastTrial]
    ) -> None:
        self.search, self.suggester, self._listener, self._scheduler = search, suggester, listener, scheduler
        self._past = past
        self._session = f"{time.time_ns() // 10**6:x}"
        self._spec: dict[str, Any] = {}
        self._room = Room(search)
        # by a trial's number:
        self._reports: dict[int, list[Figures]] = {}  # all of them, for who names points
        self._held: dict[int, Figures] = {}  # the last one, until its checkpoint is where it stays
        self._begun: set[int] = set()  # in a worker, and not ended
        self._old: dict[int, str] = {}  # checkpoint of an earlier process that it went on from
        self._last: dict[int, str] = {}  # checkpoint of its workers
        self._error: Exception | None = None

    def until_done(self, trial: Trial, budget: Budget) -> Outcome:
        """Runs Ray's loop to the end of the work or of the budget."""
        experiment = Experiment(
            self.search.name,
            trainable(self.search, trial),
            storage_path=str(self.search.storage),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=3 if self._swaps else 1),
        )
        self._spec = experiment.spec
        numbers = _Numbers(self, self._past, self._room)
        # the actors of workers are the trial's own: they end with it only if it ends
        controller: Any = Controller(
            search_alg=numbers, scheduler=self._scheduler, callbacks=[self], metric=self.search.metric,
            storage=experiment.storage, reuse_actors=self.search.workers_per_trial == 1,
        )  # fmt: skip
        if self._swaps:  # all at once: they wait for each other
            controller.update_max_pending_trials(sys.maxsize)
        why, orphans = None, Orphans()
        try:
            while self._error is None and why is None and not controller.is_finished():
                controller.step()
                self._tell_changes()
                if not self._swaps:
                    controller.forget()
                budget.holds(controller.gpus_in_use())
                if self.search.workers_per_trial > 1:
                    orphans.release()
                why = budget.used_up()
            budget.tell()
        finally:
            self._interrupt(_USED_UP.get(why or "", "broken off"))
            controller.close()
            if self.search.workers_per_trial > 1:
                orphans.release(now=True)
            tidy()
        if self._error is not None:
            raise self._error
        return Outcome(why or ("points" if numbers.no_more_points else "trials"), budget.spent)

    @property
    def _swaps(self) -> bool:
        return isinstance(self._scheduler, Population)

    def make(self, number: int, point: Point, known: PastTrial | None) -> SearchTrial:
        """A trial of Ray's; `known`: what it goes on from."""
        gpus = self._room.gpus(point)
        config = {"number": number, "point": json.dumps(dict(point)), "gpus": gpus, "resume": None, "again": ""}
        self._reports[number] = list(known.reports) if known else []
        if known and known.checkpoint and known.reports:
            again = {name: value for name, value in known.reports[-1].items() if name != "time"}
            config |= {"resume": known.checkpoint, "again": json.dumps(again)}
            self._old[number] = known.checkpoint
        if isinstance(self._scheduler, Population):
            config |= self._scheduler.values(point)
        # with workers the trial itself only waits; but Ray wants it to take something
        alone = {"CPU": self.search.cpus_per_trial} | ({"GPU": gpus} if gpus else {})
        takes: dict[str, float] = alone if self.search.workers_per_trial == 1 else {"memory": 2**20}
        made = SearchTrial(
            self._spec["run"],
            config=config,
            trial_id=trial_id(number),
            storage=self._spec["storage"],
            placement_group_factory=PlacementGroupFactory([takes]),
            checkpoint_config=self._spec["checkpoint_config"],
            trial_dirname_creator=lambda one: f"{one.trial_id}-{self._session}",
            max_failures=self.search.max_failures,
        )
        made.gpus = gpus * self.search.workers_per_trial
        return made

    # ---- what Ray tells

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        workers = self.search.workers_per_trial
        self._begun.add(trial.config["number"])
        resources = {"CPU": self.search.cpus_per_trial * workers, "GPU": trial.gpus}
        self._tell(lambda: self._listener.started(trial.config["number"], self._point(trial), resources=resources))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if result.get("failed"):
            return
        number = trial.config["number"]
        figures = {name: value for name, value in result.items() if name not in _RAYS}
        self._held[number] = figures
        if not result.get("should_checkpoint"):  # of several workers: they have saved it where Ray Train keeps it
            self._reported(number, result.get("checkpoint_path"))

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        self._reported(trial.config["number"], checkpoint.path)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._held.pop(trial.config["number"], None)
        number = trial.config["number"]
        log.warning("trial %d broke and is started again: %s", number, trial.reason)
        if self.search.workers_per_trial > 1 and number in self._last:  # what its workers saved is unknown to Ray Tune
            trial.set_config(trial.config | {"resume": self._last[number]})
        self._tell(lambda: self._listener.broke(number, trial.reason))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial, "failed", trial.reason)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result
        if failed := result.get("failed"):
            self._ended(trial, "failed", failed, result.get("traceback", ""))
        elif "step" not in result:
            self._ended(trial, "failed", "it ended without a report")
        elif stopped := self._scheduler.reasons.pop(trial.trial_id, ""):
            self._ended(trial, "stopped", stopped)
        else:
            self._ended(trial, "finished", "")

    # ---- and what becomes of it

    def _reported(self, number: int, checkpoint: str | None) -> None:
        figures = self._held.pop(number, None)
        if figures is None:  # Ray may save the same report again
            return
        reports = self._reports[number]
        if not reports or figures["step"] > reports[-1]["step"]:
            reports.append(figures)
        self._tell(lambda: self._listener.reported(number, figures, checkpoint))
        if checkpoint and self.search.workers_per_trial > 1:
            self._last[number] = checkpoint
        old = self._old.pop(number, None)
        if old and checkpoint and not self._swaps:
            self._drop(Path(old).parent)

    def _drop(self, folder: Path) -> None:
        """What a trial went on from, now that it has a checkpoint in its new folder."""
        if folder.parent == self.search.storage / self.search.name and not folder.name.endswith(self._session):
            shutil.rmtree(folder, ignore_errors=True)

    def _ended(self, trial: Any, status: Status, reason: str, traceback: str = "") -> None:
        number = trial.config["number"]
        point = self._point(trial)
        if number not in self._begun:  # its worker never came up
            self.on_trial_start(0, [], trial)
        self._held.pop(number, None)
        self._begun.discard(number)
        self._last.pop(number, None)
        reports = self._reports.pop(number, [])
        self._tell(lambda: self._listener.ended(number, status, reason, traceback))
        self.suggester.learn(PastTrial(number, point, status, reports))

    def _tell_changes(self) -> None:
        if not isinstance(self._scheduler, Population) or not self._scheduler.changes:
            return
        for change in self._scheduler.changes:
            self._reported(change.number, None)
            self._tell(
                lambda change=change: self._listener.changed(  # type: ignore[misc]
                    change.number, change.point, taken_from=change.taken_from, step=change.step,
                    checkpoint=change.checkpoint,
                )
            )  # fmt: skip
        self._scheduler.changes.clear()

    def _interrupt(self, reason: str) -> None:
        """Trials that have begun and not ended."""
        for number in sorted(self._begun):
            self._tell(lambda number=number: self._listener.ended(number, "interrupted", reason))  # type: ignore[misc]
        self._begun.clear()

    def _point(self, trial: Any) -> Point:
        point: Point = json.loads(trial.config["point"])
        return point

    def _tell(self, event: Callable[[], object]) -> None:
        """What a listener raises would be an error of Ray's trial otherwise."""
        if self._error is not None:
            return
        try:
            event()
        except Exception as error:  # noqa: BLE001 - raised by `until_done`
            self._error = error


_RAYS = frozenset({
    "trial_id", "date", "timestamp", "time_this_iter_s", "time_total_s", "training_iteration", "done", "config",
    "should_checkpoint", "hostname", "iterations_since_restore", "time_since_restore", "experiment_tag",
    "checkpoint_dir_name", "checkpoint_path",
})  # fmt: skip
"""Of a result: what Ray adds."""
