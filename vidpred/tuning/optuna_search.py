"""Optuna names the points: one study over all models, of which each has fields of its own.

Its tree-structured Parzen estimator (Bergstra et al. 2011) takes each model's fields apart, so a space that depends on
the model is nothing special. A study is never stored: what is on record is told to a new one, so the same record and
number give the same point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from vidpred.cluster.contract import Figures, PastTrial
from vidpred.cluster.contract import Point as AnyPoint
from vidpred.config import Space, TrainParams, TuneParams, UniformSpace
from vidpred.models import zoo
from vidpred.tuning.results import objectives_of
from vidpred.tuning.space import Point, default, near

_STARTUP = 10
"""Trials that are drawn at random before anything is learnt."""
_MODEL = "model"


class Optuna:
    """Each model's default first, then what Optuna asks for.

    Args:
        tune: The space, the objectives and the seed.
        train: Values of a default point.
        kind: Of the task.
    """

    def __init__(self, tune: TuneParams, train: TrainParams, kind: str = "predict") -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._tune, self._train, self._kind = tune, train, kind
        self._objectives = objectives_of(tune.objectives, kind)
        self._study = optuna.create_study(directions=["minimize"] * len(tune.objectives))
        self._asked: dict[int, optuna.Trial] = {}

    def suggest(self, number: int) -> Point | None:
        names = list(self._tune.models)
        if number < len(names):
            return default(names[number])
        seed = int(np.random.default_rng([self._tune.seed, number]).integers(2**31))
        # constant_liar: trials that run are taken for bad ones, so that others are not put beside them
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP, constant_liar=True)
        asked = self._study.ask()
        self._asked[number] = asked
        name = asked.suggest_categorical(_MODEL, names)
        point = default(name)
        for place, (part, field, space) in self._places(name).items():
            point[part][field] = _ask(asked, place, space)
        return point

    def learn(self, trial: PastTrial) -> None:
        found = self._outcome(trial)
        asked = self._asked.pop(trial.number, None)
        if asked is not None:
            state, values, between = found
            for step, value in between.items():
                asked.report(value, step)
            self._study.tell(asked, values, state)
        elif (known := self._frozen(trial.point, *found)) is not None:
            self._study.add_trial(known)

    def _outcome(self, trial: PastTrial) -> tuple[TrialState, list[float] | None, dict[int, float]]:
        """State, values and, where there is one objective, what came between: of a trial that was stopped early, Optuna
        goes by how far it came."""
        between = {int(r["step"]): v for r in trial.reports if math.isfinite(v := _number(r, self._objectives[0]))}
        if trial.status == "failed" or not between:
            return TrialState.FAIL, None, {}
        values = [min(_number(r, name) for r in trial.reports) for name in self._objectives]
        if len(values) > 1:
            return TrialState.COMPLETE, values, {}
        if trial.status == "stopped":
            return TrialState.PRUNED, None, between
        return TrialState.COMPLETE, values, between

    def _places(self, name: str) -> dict[str, tuple[str, str, Space]]:
        space = self._tune.models[name]
        return {
            f"{name}.{part}.{field}": (part, field, values)
            for part, fields in (("config", space.config), ("train", space.train))
            for field, values in fields.items()
        }

    def _frozen(
        self, point: AnyPoint, state: TrialState, values: Sequence[float] | None, between: Mapping[int, float]
    ) -> FrozenTrial | None:
        """A trial of the past; None: its point is none of the space, as a default may be."""
        name = point["model"]
        if name not in self._tune.models:
            return None
        params: dict[str, Any] = {_MODEL: name}
        kinds: dict[str, BaseDistribution] = {_MODEL: CategoricalDistribution(list(self._tune.models))}
        defaults = {"config": asdict(zoo.config_of(name, {}, self._kind)), "train": self._train.model_dump()}
        for place, (part, field, space) in self._places(name).items():
            section, _, key = field.partition(".")
            usual = defaults[part].get(section)
            value = point[part].get(field, usual.get(key, 0) if key and isinstance(usual, Mapping) else usual)
            kind = _distribution(space)
            if not _contains(kind, value):
                return None
            params[place], kinds[place] = value, kind
        return create_trial(
            state=state,
            values=values,
            params=params,
            distributions=kinds,
            intermediate_values=dict(between),
        )


def _distribution(space: Space) -> BaseDistribution:
    if not isinstance(space, UniformSpace):
        return CategoricalDistribution(space)
    if space.values is not None and all(isinstance(value, int) for value in space.values) and not space.log:
        return IntDistribution(space.values[0], space.values[-1], step=int(space.step or 1))  # type: ignore[arg-type]
    if space.log:  # Optuna has no steps on a logarithmic scale: values are rounded to them
        return FloatDistribution(space.low, space.high, log=True)
    return FloatDistribution(space.low, space.values[-1] if space.values else space.high, step=space.step)


def _ask(asked: optuna.Trial, place: str, space: Space) -> Any:
    kind = _distribution(space)
    if isinstance(kind, CategoricalDistribution):
        return asked.suggest_categorical(place, kind.choices)
    if isinstance(kind, IntDistribution):
        return asked.suggest_int(place, kind.low, kind.high, step=kind.step)
    assert isinstance(kind, FloatDistribution)
    assert isinstance(space, UniformSpace)
    return near(space, asked.suggest_float(place, kind.low, kind.high, log=kind.log, step=kind.step))


def _contains(kind: BaseDistribution, value: Any) -> bool:
    if isinstance(kind, CategoricalDistribution):
        return value in kind.choices
    return isinstance(value, int | float) and kind._contains(kind.to_internal_repr(value))


def _number(figures: Figures, name: str) -> float:
    value = figures.get(name)
    return math.nan if value is None else float(value)
