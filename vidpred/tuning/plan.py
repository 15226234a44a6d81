"""From params.yaml to what is searched, how hard, and who names the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidpred.cluster.contract import PastTrial, Point, Search, Suggester
from vidpred.config import Params
from vidpred.tuning.space import points
from vidpred.types import Task


@dataclass(frozen=True)
class Plan:
    """Of a search."""

    search: Search
    suggester: Suggester


class Listed:
    """Points of a list, in its order."""

    def __init__(self, listed: Sequence[Point]) -> None:
        self._listed = listed

    def suggest(self, number: int) -> Point | None:
        """The point of that place."""
        return self._listed[number] if number < len(self._listed) else None

    def learn(self, trial: PastTrial) -> None:
        """Nothing is learnt."""


def planned(params: Params, task: Task, *, name: str, storage: Path) -> Plan:
    """The search that params.yaml asks for.

    Args:
        params: All of it.
        task: What models are built for.
        name: Of the search: the key of the stage.
        storage: Folder of all sweeps.

    Raises:
        UserError: the space is impossible.
    """
    tune, resources = params.tune, params.resources
    search = Search(
        name=name,
        storage=storage,
        metric="perceptual_distance",
        max_steps=tune.steps,
        grace_steps=tune.grace_steps,
        trials=tune.trials,
        reduction_factor=tune.reduction_factor,
        seed=tune.seed,
        cpus_per_trial=resources.cpus_per_trial,
        gpus_per_trial=0 if resources.device == "cpu" else resources.gpus_per_trial,
        workers_per_trial=resources.workers_per_trial,
        trials_at_once=resources.trials_at_once,
    )
    return Plan(search, Listed(points(tune, params.train, task)))
