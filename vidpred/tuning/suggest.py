"""Who names the points of a sweep: random draws, a grid, or what an earlier sweep found best."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.cluster.contract import PastTrial, Suggester
from vidpred.cluster.contract import Point as AnyPoint
from vidpred.config import TrainParams, TuneParams
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.tuning.results import read_best
from vidpred.tuning.space import Point, check_train, default, drawn, grid
from vidpred.types import Task

_TRIES = 1000
"""Draws of a point until it is taken that there is no other."""


class Draws:
    """Each model's default first, then random points, none twice, models taking turns while they have any left. A point
    depends on its number and the seed alone.

    Args:
        tune: The space.
        again: Whether a point may come again: members of a population may begin alike.
    """

    def __init__(self, tune: TuneParams, *, again: bool = False) -> None:
        self._tune, self._again = tune, again
        self._points: list[Point] = []
        self._open = list(tune.models)
        """Models that have points left."""

    def suggest(self, number: int) -> Point | None:
        while len(self._points) <= number:
            made = self._next(len(self._points))
            if made is None:
                return None
            self._points.append(made)
        return self._points[number]

    def _next(self, number: int) -> Point | None:
        names = list(self._tune.models)
        if number < len(names):
            return default(names[number])
        while self._open:
            name = self._open[number % len(self._open)]
            rng = np.random.default_rng([self._tune.seed, number])
            for _ in range(_TRIES):
                point = drawn(name, self._tune.models[name], rng)
                if self._again or point not in self._points:
                    return point
            self._open.remove(name)
        return None

    def learn(self, trial: PastTrial) -> None: ...


class Grid:
    """All combinations, models taking turns while they have any left."""

    def __init__(self, tune: TuneParams) -> None:
        rows = itertools.zip_longest(*(grid(name, space) for name, space in tune.models.items()))
        self.points: list[Point] = [point for row in rows for point in row if point is not None]

    def suggest(self, number: int) -> Point | None:
        return self.points[number] if number < len(self.points) else None

    def learn(self, trial: PastTrial) -> None: ...


class First:
    """Some points first, then another's."""

    def __init__(self, points: Sequence[Point], then: Suggester) -> None:
        self._points, self._then = points, then

    def suggest(self, number: int) -> AnyPoint | None:
        if number < len(self._points):
            return self._points[number]
        return self._then.suggest(number - len(self._points))

    def learn(self, trial: PastTrial) -> None:
        number = trial.number - len(self._points)
        self._then.learn(PastTrial(number, trial.point, trial.status, trial.reports))


class Members:
    """A population: every value that may change is written out, also where it is the default."""

    def __init__(self, tune: TuneParams, train: TrainParams) -> None:
        [(_, space)] = tune.models.items()
        self._draws = Draws(tune, again=True)
        self._values = {field: _value(train, field) for field in space.train}

    def suggest(self, number: int) -> Point | None:
        point = self._draws.suggest(number)
        return point and point | {"train": self._values | point["train"]}

    def learn(self, trial: PastTrial) -> None: ...


def _value(train: TrainParams, field: str) -> Any:
    section, _, name = field.partition(".")
    value = train.model_dump()[section]
    return value.get(name, 0) if name else value


def warm_points(sources: Sequence[str], *, sweeps: Path, own: Path, train: TrainParams, task: Task) -> list[Point]:
    """What earlier sweeps found best, each once.

    Args:
        sources: Paths of best.yaml files, or keys of sweeps.
        sweeps: Folder of all sweeps, by key.
        own: What the sweep to be warmed writes.
        train: What a point's `train` replaces fields of.
        task: What models are built for.

    Raises:
        UserError: there is no such file or sweep, it is none, it is gone when it is wanted, or it is impossible for
            this task.
    """
    points: list[Point] = []
    for source in sources:
        path = Path(source)
        if path.resolve() == own.resolve():
            raise UserError(
                f"tune.warm_start names {source}, which DVC removes before the sweep that writes it anew: copy it, or "
                "give the key of its sweep, which results/tune/summary.json has"
            )
        if not path.is_file():
            path = sweeps / source / "best.yaml"
        if not path.is_file():
            raise UserError(f"tune.warm_start names {source}, and there is neither such a file nor a sweep of that key")
        try:
            point = read_best(path)
        except UserError as error:
            raise UserError(f"tune.warm_start: {error}") from None
        try:
            zoo.operations(zoo.build(point["model"], point["config"], task), task)
        except UserError as error:
            raise UserError(f"tune.warm_start: {source} is impossible here: {error}") from None
        check_train(train, point["train"], where=f"tune.warm_start: {source} is impossible here")
        if point not in points:
            points.append(point)
    return points
