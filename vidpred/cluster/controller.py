"""Ray Tune's controller, for searches whose record is elsewhere and whose trials may die of anything.

What differs from Ray's own (2.60):

- A worker that Ray's memory monitor or a lost machine ended is a broken trial. Ray takes these exceptions, which are
  no `RayActorError`s, for errors of its own, and they end the whole search.
- A worker that does not let go of a stopped trial is replaced, and the trial that waits for it is started elsewhere; in
  Ray that trial has failed, and nobody is told.
- A trial that ends without a report is a failed one; in Ray it fails the search.
- Trials that have ended are forgotten, so that thousands of them take no memory.
- No state is written: the trials' record is the truth, and Ray's copy would be a second one.
"""

from __future__ import annotations

from typing import Any

from ray.air.execution import PlacementGroupResourceManager
from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.error import TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from vidpred.cluster.failures import in_words


class SearchTrial(Trial):
    """A trial that knows why it broke."""

    reason = ""
    gpus = 0.0

    def handle_error(self, exc: Exception | None = None) -> None:
        if exc is not None:
            self.reason = in_words(exc)
        super().handle_error(exc)  # type: ignore[arg-type]  # narrower than what it is called with


class _Died(RayActorError):
    """A worker that ended in a way for which Ray has another exception."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.__cause__ = cause
        self.why = cause

    def __str__(self) -> str:
        return str(self.why)


class _ActorManager(RayActorManager):
    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            exception = _Died(exception)
        super()._actor_task_failed(tracked_actor_task, exception)


class Controller(TuneController):
    """See the module's docstring."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._print_trial_errors = False  # they are told in a line each
        self._actor_manager = _ActorManager(resource_manager=PlacementGroupResourceManager())

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Nothing: see the module's docstring."""

    def close(self) -> None:
        """Ends all workers at once: what they had to say has been said."""
        self._actor_manager.cleanup()
        self.end_experiment_callbacks()

    def gpus_in_use(self) -> float:
        """That trials which run have set aside, together."""
        return float(sum(trial.gpus for trial in self._running_trials if isinstance(trial, SearchTrial)))

    def forget(self) -> None:
        """All about trials that have ended and whose workers are gone or with others."""
        ended: set[Any] = {
            trial for trial in self._stopped_trials | self._failed_trials if trial not in self._trial_to_actor
        }
        for trial in ended:
            for kept in (
                self._stopped_trials, self._failed_trials, self._live_trials, self._trials_to_cache,
                self._resources_to_pending_trials[trial.placement_group_factory],
            ):  # fmt: skip
                kept.discard(trial)
            for known in (self._trial_metadata, self._cached_trial_decisions, self._queued_trial_decisions):
                known.pop(trial.trial_id, None)
        if ended:
            self._trials = [trial for trial in self._trials if trial not in ended]
        self._trials_to_cache.clear()

    def _validate_result_metrics(self, result: dict[str, Any]) -> None:
        """A trial without figures has failed by itself; in Ray it would fail the search."""

    def _on_trial_reset(self, trial: Trial, success: bool) -> None:
        if success:
            super()._on_trial_reset(trial, success)
            return
        self._resetting_trials.remove(trial)
        self._unstage_trial_with_resources(trial)
        self._set_trial_status(trial, Trial.RUNNING)
        self._process_trial_failure(trial, exception=TuneError("its worker was busy with the trial before it"))
