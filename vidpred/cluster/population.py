"""Population-based training: at every turn the worst trials go on from the weights of the best, with other values.

PBT (Jaderberg et al. 2017, arXiv 1711.09846) shifts the values by a factor or draws them anew; PB2 (Parker-Holder et
al. 2020, arXiv 2002.02518) lets a Gaussian process choose them. Both are Ray's, in step: nobody goes on before all have
come to the turn, so that what is decided does not depend on who was faster.
"""

from __future__ import annotations

import json
import logging
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.schedulers.pb2 import PB2
from sklearn.exceptions import ConvergenceWarning

from vidpred.cluster.contract import PastTrial, Point, Range, Search
from vidpred.cluster.schedulers import TURN, Watched, turn_of
from vidpred.errors import UserError

log = logging.getLogger(__name__)

_FACTORS = (1.25, 0.8)
_Row = tuple[int, dict[str, Any], float]
"""Turn, values by place, and the loss with its sign changed."""


@dataclass(frozen=True)
class Change:
    """A trial goes on from another's checkpoint, with other values."""

    number: int
    taken_from: int
    step: int
    point: Point
    checkpoint: str | None


class Population(Watched):
    """Ray's PBT or PB2; its members are all the trials there are.

    Args:
        search: What is searched; its `mutations` are what may change.

    Raises:
        UserError: nothing may change, or PB2 is to choose from a list.
    """

    def __init__(self, search: Search) -> None:
        _check(search)
        options: dict[str, Any] = {
            "time_attr": TURN, "metric": search.metric, "mode": "min", "perturbation_interval": 1,
            "log_config": False, "synch": True, "custom_explore_fn": _within(search),
        }  # fmt: skip
        inner = (
            _PBT(hyperparam_mutations=_draws(search.mutations), perturbation_factors=_FACTORS, **options)
            if search.scheduler == "pbt"
            else _Bandit(
                hyperparam_bounds={
                    place: [_coded(space.low, search, place), _coded(space.high, search, place)]
                    for place, space in search.mutations.items()
                },
                **options,
            )
        )
        super().__init__(inner, search)
        self.changes: list[Change] = []
        """Since they were last taken from here."""
        inner.on_exploit = self._note
        self._done = 0
        self._past: dict[int, PastTrial] = {}

    def replay(self, past: Sequence[PastTrial]) -> None:
        """All come again with their last report; those turns at which values have been exchanged are over."""
        self._past = {trial.number: trial for trial in past}
        at = [turn_of(trial.reports[-1], self._search) for trial in past if trial.reports]
        changed = [turn_of({"step": trial.changed_at}, self._search) for trial in past if trial.changed_at]
        self._done = max([0, *changed, *(turn - 1 for turn in at)])
        self._inner._next_perturbation_sync = self._done + 1  # type: ignore[attr-defined]

    def values(self, point: Point) -> dict[str, Any]:
        """What may change of a point, by place, as the scheduler sees it."""
        return {place: _coded(_at(point, place), self._search, place) for place in self._search.mutations}

    def point(self, config: Mapping[str, Any]) -> Point:
        """A point with the values that a scheduler gave it."""
        point = json.loads(config["point"])
        for place, space in self._search.mutations.items():
            part, field = place.split(".", 1)
            value = config[place]
            if self._search.scheduler == "pb2":
                value = space.nearest(float(10**value) if space.log else float(value))
            point[part] = point[part] | {field: value}
        return dict(point)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        known = self._past.get(trial.config["number"])
        if known and known.reports:
            state = self._inner._trial_state[trial]  # type: ignore[attr-defined]
            state.last_perturbation_time = self._done
            state.last_train_time = min(self._done, turn_of(known.reports[-1], self._search))
            if isinstance(self._inner, _Bandit):
                self._inner.remember(trial, self._observed(known))

    def _observed(self, known: PastTrial) -> list[_Row]:
        """What a Gaussian process had seen of a trial: its reports under the values that it had then, and where it
        went on from another, that one's loss under its own new values."""
        metric = self._search.metric
        rows: list[_Row] = []
        for report in known.reports:
            values = self.values(known.point_at(int(report["step"])))
            rows.append((turn_of(report, self._search), values, -float(report[metric])))
        for change in known.changes:
            other = self._past.get(int(change["taken_from"]))
            losses = [r[metric] for r in other.reports if int(r["step"]) <= int(change["step"])] if other else []
            if losses:
                turn = turn_of({"step": change["step"]}, self._search)
                rows.append((turn, self.values(change["point"]), -float(losses[-1])))
        return sorted(rows, key=lambda row: row[0])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        with self._drawing():
            return super().on_trial_result(tune_controller, trial, result)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        chosen = super().choose_trial_to_run(tune_controller)
        if chosen is None:
            self._go_on_without(tune_controller)
        return chosen

    def _go_on_without(self, tune_controller: Any) -> None:
        """Whoever the others waited for is gone: they exchange values without it."""
        live = [trial for trial in tune_controller.get_trials() if not trial.is_finished()]
        states = self._inner._trial_state  # type: ignore[attr-defined]
        due = self._inner._next_perturbation_sync  # type: ignore[attr-defined]
        if not live or any(
            trial.status != trial.PAUSED or trial.is_saving or states[trial].last_train_time < due for trial in live
        ):
            return
        last = live[-1]
        with self._drawing():
            self._inner.on_trial_result(tune_controller, last, dict(states[last].last_result))

    def _drawing(self) -> AbstractContextManager[None]:
        """The draws of the turn at which values are exchanged next: the same whoever comes to it last."""
        return _seeded(self._search.seed, self._inner._next_perturbation_sync)  # type: ignore[attr-defined]

    def _for_inner(self, trial: Any) -> Any:
        return trial

    def _seen(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        return dict(figures) | super()._seen(figures)

    def _note(self, trial: Any, number: int, taken_from: Any) -> None:
        trial.set_config(trial.config | {"number": number, "resume": None, "again": ""})
        point = self.point(trial.config)
        trial.set_config(trial.config | {"point": json.dumps(point)})
        checkpoint = trial.latest_checkpoint_result.checkpoint
        step = int(self._inner._trial_state[taken_from].last_result["step"])  # type: ignore[attr-defined]
        self.changes.append(
            Change(number, taken_from.config["number"], step, point, checkpoint.path if checkpoint else None)
        )


class _PBT(PopulationBasedTraining):
    """Tells who went on from whom."""

    on_exploit: Callable[[Any, int, Any], None]

    def _exploit(self, tune_controller: Any, trial: Any, trial_to_clone: Any) -> None:
        number = trial.config["number"]
        super()._exploit(tune_controller, trial, trial_to_clone)
        self.on_exploit(trial, number, trial_to_clone)


class _Bandit(PB2):
    """PB2 that tells who went on from whom, and can be told of the past."""

    on_exploit: Callable[[Any, int, Any], None]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._told: dict[str, int] = {}
        """Of trials of the past the turn of the last report, which comes again, and is in the data already."""

    def remember(self, trial: Any, rows: Sequence[_Row]) -> None:
        """Puts what is on record of a trial where PB2 would have put it report by report."""
        known = pd.DataFrame(
            [{"Trial": str(trial), "Time": turn, **values, "Reward": reward} for turn, values, reward in rows]
        )
        self.data = pd.concat([self.data, known]).sort_values("Time", kind="stable").reset_index(drop=True)
        self._told[trial.trial_id] = max(turn for turn, _, _ in rows)

    def _save_trial_state(self, state: Any, time: int, result: dict[str, Any], trial: Any) -> Any:
        before = self.data
        score = super()._save_trial_state(state, time, result, trial)
        if self._told.pop(trial.trial_id, None) == time:
            self.data = before
        return score

    def _exploit(self, tune_controller: Any, trial: Any, trial_to_clone: Any) -> None:
        number = trial.config["number"]
        super()._exploit(tune_controller, trial, trial_to_clone)
        self.on_exploit(trial, number, trial_to_clone)


def _check(search: Search) -> None:
    if not search.mutations:
        raise UserError(f"{search.scheduler} has nothing to change: let fields of `train` vary")
    if search.workers_per_trial > 1:
        raise UserError(f"{search.scheduler} is for trials of one worker: set resources.workers_per_trial to 1")
    for place, space in search.mutations.items():
        if search.scheduler == "pb2" and not isinstance(space, Range):
            raise UserError(
                f"pb2 chooses numbers from ranges, but {place} is one of a list: give low and high, or use pbt"
            )


def _at(point: Point, place: str) -> Any:
    part, field = place.split(".", 1)
    return point[part][field]


def _coded(value: float, search: Search, place: str) -> Any:
    """As the scheduler sees a value: PB2 knows no logarithmic ranges."""
    space = search.mutations[place]
    if search.scheduler != "pb2":
        return value
    return math.log10(value) if space.log else float(value)


def _draws(mutations: Mapping[str, Any]) -> dict[str, Any]:
    return {place: _draw(space) if isinstance(space, Range) else list(space) for place, space in mutations.items()}


def _draw(space: Range) -> Callable[[], float]:
    if space.log:
        return lambda: math.exp(random.uniform(math.log(space.low), math.log(space.high)))
    return lambda: random.uniform(space.low, space.high)


def _within(search: Search) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Factors lead out of ranges."""
    limits = {
        place: (_coded(space.low, search, place), _coded(space.high, search, place))
        for place, space in search.mutations.items()
        if isinstance(space, Range)
    }

    def keep(config: dict[str, Any]) -> dict[str, Any]:
        return config | {place: min(max(config[place], low), high) for place, (low, high) in limits.items()}

    return keep


@contextmanager
def _seeded(*seed: int) -> Iterator[None]:
    """Ray draws from the process's generators."""
    before, numpys = random.getstate(), np.random.get_state()
    random.seed(str(seed))
    np.random.seed(abs(hash(seed)) % 2**32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of PB2's Gaussian process; nobody can help it
            yield
    finally:
        random.setstate(before)
        np.random.set_state(numpys)
