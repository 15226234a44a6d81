"""Which trials go on: Ray's schedulers, fed with the reports of the past, and told of shares of the way, not of steps.

All compare trials by turns: a trial reports so many times in all, at equal steps or, where each trial has `steps` of
its own, at equal shares of its way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from vidpred.cluster.contract import ENDED, Figures, PastTrial, Search

TURN = "turn"
"""The report's place in the trial, from 1; what schedulers take for time."""
BRACKETS = 3
"""Of hyperband: the first lets trials be stopped at their first report, each other one a rung later."""


def turns(search: Search) -> int:
    """How often a trial reports that is not stopped."""
    return math.ceil(search.max_steps / search.grace_steps)


def turn_of(figures: Figures, search: Search) -> int:
    """Which of its reports this is; a last step between two turns ends in the later one."""
    steps = figures.get("steps") or search.max_steps
    return max(1, math.ceil(int(figures["step"]) / steps * turns(search) - 1e-6))


def has_finished(figures: Figures, search: Search) -> bool:
    """Whether a report is a trial's last one."""
    return int(figures["step"]) >= (figures.get("steps") or search.max_steps)


class _HyperBand(ASHAScheduler):
    """ASHA in several brackets at once, of which a trial's number decides (asynchronous HyperBand): some trials are
    given more time before they may be stopped, lest slow starters be lost."""

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self._seed = seed

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        sizes = np.array([len(bracket._rungs) for bracket in self._brackets])
        shares = np.exp(sizes - sizes.max())  # as Ray has it: brackets with more rungs stop more, so they get more
        rng = np.random.default_rng([self._seed, int(trial.trial_id)])
        self._trial_info[trial.trial_id] = self._brackets[rng.choice(len(sizes), p=shares / shares.sum())]


def _fifo(search: Search) -> TrialScheduler:  # noqa: ARG001 - like the others
    return FIFOScheduler()


def _asha(search: Search) -> TrialScheduler:
    return ASHAScheduler(**_halving(search))


def _hyperband(search: Search) -> TrialScheduler:
    rungs = int(math.log(turns(search), search.reduction_factor) + 1e-9) + 1
    return _HyperBand(search.seed, brackets=min(BRACKETS, rungs), **_halving(search))


def _halving(search: Search) -> dict[str, Any]:
    return {"time_attr": TURN, "metric": search.metric, "mode": "min", "max_t": turns(search)} | {
        "grace_period": 1,
        "reduction_factor": search.reduction_factor,
    }


class _Median(MedianStoppingRule):
    """The median rule, in which a trial that cannot be compared yet goes on: Ray would let it wait for others."""

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:
        return TrialScheduler.CONTINUE

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self._stopped_trials.discard(trial)  # told of the past, it would have stopped some that went on
        return str(super().on_trial_result(tune_controller, trial, result))


def _median(search: Search) -> TrialScheduler:
    return _Median(time_attr=TURN, metric=search.metric, mode="min", grace_period=1, min_samples_required=3)


STOPPING: Mapping[str, Callable[[Search], TrialScheduler]] = {
    "fifo": _fifo,
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
}
"""Those that end trials early or not at all."""
_WHY = {
    "asha": "not among the best {factor} at step {step}",
    "hyperband": "not among the best {factor} of its bracket at step {step}",
    "median": "its best is worse than the median of the others up to step {step}",
}


class Watched(TrialScheduler):
    """One of Ray's schedulers: it sees turns, not what has failed, and its reasons are kept.

    Args:
        inner: Ray's own.
        search: What is searched.
    """

    def __init__(self, inner: TrialScheduler, search: Search) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inner, self._search = inner, search
        self._metric = search.metric
        self.reasons: dict[str, str] = {}
        """Why a trial was stopped, by its id; of those that have not ended."""

    def replay(self, past: Sequence[PastTrial]) -> None:
        """What the scheduler would know had it been there.

        Of a trial that goes on, its last report is left out: it comes again with its checkpoint, and is decided on
        then.
        """
        for trial in past:
            one = stand_in(trial.number)
            self._inner.on_trial_add(_NOBODY, one)
            ended = trial.status in ENDED
            told = [self._seen(figures) for figures in trial.reports]
            for seen in told if ended else told[:-1]:
                self._inner.on_trial_result(_NOBODY, one, seen)
            if trial.status == "failed" or (ended and not told):
                self._inner.on_trial_remove(_NOBODY, one)
            elif ended:
                self._inner.on_trial_complete(_NOBODY, one, told[-1])

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._inner.on_trial_add(tune_controller, self._for_inner(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if result.get("failed") or has_finished(result, self._search):
            return self.STOP
        decision: str = self._inner.on_trial_result(tune_controller, self._for_inner(trial), self._seen(result))
        if decision == self.STOP:
            factor = f"1 in {self._search.reduction_factor}"
            why = _WHY[self._search.scheduler].format(factor=factor, step=result["step"])
            self.reasons[trial.trial_id] = f"{self._search.scheduler}: {why}"
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if "step" in result and not result.get("failed"):
            self._inner.on_trial_complete(tune_controller, self._for_inner(trial), self._seen(result))
        else:
            self._inner.on_trial_remove(tune_controller, self._for_inner(trial))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._inner.on_trial_error(tune_controller, self._for_inner(trial))

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._inner.on_trial_remove(tune_controller, self._for_inner(trial))

    def _for_inner(self, trial: Any) -> Any:
        """What stands for a trial in Ray's scheduler, which may hold on to it for good."""
        return stand_in(trial.config["number"])

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        return self._inner.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        return str(self._inner.debug_string())

    def _seen(self, figures: Figures) -> dict[str, Any]:
        value = figures.get(self._search.metric)
        return {TURN: turn_of(figures, self._search), self._search.metric: math.nan if value is None else float(value)}


@dataclass(frozen=True)
class _Known:
    """A trial, as a scheduler knows one: by its id."""

    trial_id: str


_NOBODY: Any = SimpleNamespace(search_alg=None, get_trials=list, get_live_trials=set)
"""A controller with no trials."""


def trial_id(number: int) -> str:
    """Of a trial, in this process and any later one."""
    return f"{number:05d}"


def stand_in(number: int) -> Any:
    """What a scheduler holds on to of a trial."""
    return _Known(trial_id=trial_id(number))
