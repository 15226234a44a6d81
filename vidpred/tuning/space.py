"""From `tune` of params.yaml to points: what there is, what is impossible, and how one is drawn."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from vidpred.config import ModelSpace, Space, TrainParams, TuneParams, UniformSpace
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.problems import problems
from vidpred.types import Task

Point = dict[str, Any]
"""{"model": name, "config": fields of the model that differ from its default, "train": those of `train` that do}."""
Value = bool | int | float | str
_COUNTS = {"batch_size", "warmup_steps", "unroll_steps", "augment.stride", "augment.translate"}
"""Fields of `train` that are whole numbers."""
_WITHIN = 0.3819
"""Where a range is tried between its ends: what wants whole numbers is then told so."""


def check_space(tune: TuneParams, train: TrainParams, task: Task) -> None:
    """Makes sure that every model can be built for the task, by default and with each value that may vary.

    Of a range the ends and one value between stand for all. Values are tried one at a time: what only several together
    make impossible is a failed trial. What `train.augment` does to classes is refused here, not once a trial.

    Raises:
        UserError: an unknown model or field (says the nearest one), or an impossible value; names its place.
    """
    for name, space in tune.models.items():
        where = f"tune.models.{name}"
        if task.classes and not any(field.startswith("augment.") for field in space.train):
            _check_turns(train, task, where=where)
        zoo.operations(zoo.build(name, {}, task), task)  # builds and predicts once
        for field, values in space.config.items():
            known = [one.name for one in fields(zoo.config_of(name, {}, task.kind))]
            if field not in known:
                raise UserError(f"{where}.config.{field} is unknown: {_instead(field, known)}")
            for value in _extremes(values):
                try:
                    zoo.operations(zoo.build(name, {field: value}, task), task)
                except UserError as error:
                    raise UserError(f"{where}.config.{field} may be {value}, which is impossible: {error}") from None
        for field, values in space.train.items():
            if field in _COUNTS and isinstance(values, UniformSpace) and values.step is None:
                raise UserError(
                    f"{where}.train: {field} is a range, which draws fractions: give a list, such as [8, 16], or a step"
                )
            for value in _extremes(values):
                check_train(train, {field: value}, where=f"{where}.train")
                if task.classes and field.startswith("augment."):
                    _check_turns(train.changed({field: value}), task, where=f"{where}.train")


def _check_turns(train: TrainParams, task: Task, *, where: str) -> None:
    from vidpred.data.labels import tables_of  # which loads what only this task needs

    try:
        tables_of(train.augment, task.classes)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def complete(tune: TuneParams, task: Task) -> TuneParams:
    """With what a model's own file proposes (`SEARCH`) where `tune.models` says nothing of it.

    A grid of that has no end, and stays the default alone; a population wants to be told, which params.yaml has made
    sure of.
    """
    if tune.search == "grid" or tune.population:
        return tune
    proposed = {
        name: _proposed(name, task)
        for name, space in tune.models.items()
        if space == ModelSpace() and zoo.search(name, task.kind)
    }
    return tune.model_copy(update={"models": tune.models | proposed})


def _proposed(name: str, task: Task) -> ModelSpace:
    """A model's `SEARCH`, less what is impossible for the task."""
    space = ModelSpace.model_validate(zoo.search(name, task.kind))
    config: dict[str, Space] = {}
    for field, values in space.config.items():
        possible = [value for value in _extremes(values) if _buildable(name, {field: value}, task)]
        if isinstance(values, UniformSpace) and len(possible) == len(_extremes(values)):
            config[field] = values
        elif not isinstance(values, UniformSpace) and len(possible) > 1:
            config[field] = possible
    return space.model_copy(update={"config": config})


def _buildable(name: str, config: Mapping[str, Any], task: Task) -> bool:
    try:
        with torch.random.fork_rng(devices=[]):
            zoo.build(name, config, task)
    except UserError:
        return False
    return True


def check_train(train: TrainParams, changes: Mapping[str, Any], *, where: str) -> None:
    """Makes sure that `train` can be so.

    Raises:
        UserError: it cannot; `where` is what its line begins with.
    """
    given = train.replaced(changes)
    try:
        TrainParams.model_validate(given)
    except ValidationError as error:
        raise UserError(f"{where}: {problems(error, TrainParams, given)}") from None


def default(name: str) -> Point:
    """A model as it is without a sweep."""
    return {"model": name, "config": {}, "train": {}}


def drawn(name: str, space: ModelSpace, rng: np.random.Generator) -> Point:
    """A point of a model's space."""
    return {
        "model": name,
        "config": {field: draw(values, rng) for field, values in space.config.items()},
        "train": {field: draw(values, rng) for field, values in space.train.items()},
    }


def draw(space: Space, rng: np.random.Generator) -> Value:
    """One value."""
    if not isinstance(space, UniformSpace):
        return space[int(rng.integers(len(space)))]
    if space.log:
        return near(space, float(np.exp(rng.uniform(np.log(space.low), np.log(space.high)))))
    if space.values is not None:
        return space.values[int(rng.integers(len(space.values)))]
    return float(rng.uniform(space.low, space.high))


def near(space: UniformSpace, value: float) -> int | float:
    """The nearest value that the range has."""
    if space.values is None:
        return value
    return min(space.values, key=lambda one: abs(one - value))


def grid(name: str, space: ModelSpace) -> Iterator[Point]:
    """All combinations of a space without an end-less range, in order; the last field changes first."""
    places = [("config", field, values) for field, values in space.config.items()]
    places += [("train", field, values) for field, values in space.train.items()]
    for chosen in itertools.product(*(_all(values) for _, _, values in places)):
        point = default(name)
        for (part, field, _), value in zip(places, chosen, strict=True):
            point[part] |= {field: value}
        yield point


def _all(space: Space) -> list[Value]:
    if isinstance(space, UniformSpace):
        if space.values is None:
            raise UserError(f"a range without a step has no end: {space.low:g} to {space.high:g}")
        return list(space.values)
    return list(space)


def _extremes(space: Space) -> list[Value]:
    if not isinstance(space, UniformSpace):
        return list(space)
    if space.values is not None:
        return [space.values[0], space.values[-1]]
    return [space.low, space.low + _WITHIN * (space.high - space.low), space.high]


def _instead(wrong: str, known: list[str]) -> str:
    found = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f"did you mean {found[0]}?" if found else f"there are {', '.join(known) or 'none'}"
