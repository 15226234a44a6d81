"""From params.yaml to what is searched, how hard, and who names the points."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from vidpred.cluster.contract import Range, Search, Suggester
from vidpred.config import ModelSpace, Params, Space, TrainParams, TuneParams, UniformSpace
from vidpred.tuning.needs import gpu_bytes
from vidpred.tuning.results import metric_of
from vidpred.tuning.space import check_space, complete
from vidpred.tuning.suggest import Draws, First, Grid, Members, warm_points
from vidpred.types import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Of a search."""

    search: Search
    suggester: Suggester


def planned(params: Params, task: Task, *, name: str, storage: Path, best: Path) -> Plan:
    """The search that params.yaml asks for.

    Args:
        params: All of it.
        task: What models are built for.
        name: Of the search: the key of the stage.
        storage: Folder of all sweeps.
        best: The file that this sweep writes.

    Raises:
        UserError: the space is impossible, or `warm_start` names what is not there.
    """
    tune, resources = complete(params.tune, task), params.resources
    check_space(tune, params.train, task)
    for model, space in tune.models.items():
        if space != params.tune.models[model]:
            log.info("tune.models says nothing of %s: searched is what its file proposes, %s", model, _named(space))
        elif space == ModelSpace():
            log.warning("tune.models says nothing of %s: its default alone is tried", model)
    suggester = _suggester(tune, params.train, task.kind)
    if tune.warm_start:
        suggester = First(
            warm_points(tune.warm_start, sweeps=storage, own=best, train=params.train, task=task), suggester
        )
    search = Search(
        name=name,
        storage=storage,
        metric=metric_of(task.kind),
        max_steps=tune.steps,
        grace_steps=tune.grace_steps,
        trials=tune.trials,
        max_seconds=None if tune.minutes is None else 60 * tune.minutes,
        max_gpu_seconds=None if tune.gpu_hours is None else 3600 * tune.gpu_hours,
        scheduler=tune.scheduler,
        reduction_factor=tune.reduction_factor,
        mutations=_mutations(tune) if tune.population else {},
        seed=tune.seed,
        cpus_per_trial=resources.cpus_per_trial,
        gpus_per_trial=0 if resources.device == "cpu" else resources.gpus_per_trial,
        gpu_bytes=lambda point: gpu_bytes(point, params, task),
        workers_per_trial=resources.workers_per_trial,
        trials_at_once=resources.trials_at_once,
    )
    return Plan(search, suggester)


def _named(space: ModelSpace) -> str:
    return ", ".join([*space.config, *space.train])


def _suggester(tune: TuneParams, train: TrainParams, kind: str) -> Suggester:
    if tune.population:
        return Members(tune, train)
    if tune.search == "grid":
        return Grid(tune)
    if tune.search == "optuna":
        from vidpred.tuning.optuna_search import Optuna

        return Optuna(tune, train, kind)
    return Draws(tune)


def _mutations(tune: TuneParams) -> dict[str, Range | list[bool | int | float | str]]:
    [(_, space)] = tune.models.items()
    return {f"train.{field}": _mutation(values, tune.scheduler) for field, values in space.train.items()}


def _mutation(space: Space, scheduler: str) -> Range | list[bool | int | float | str]:
    if not isinstance(space, UniformSpace):
        return list(space)
    if (
        space.values is not None and scheduler == "pbt"
    ):  # which goes to a neighbour in a list; a factor is less than a step
        return list(space.values)
    return Range(space.low, space.high, log=space.log, values=space.values)
