"""From `tune` of params.yaml to the points that a sweep tries."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import ValidationError

from vidpred.config import Space, TrainParams, TuneParams, UniformSpace
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.types import Task

Point = dict[str, Any]
"""{"model": name, "config": complete config of the model, "train": fields of `train` that differ}."""


def points(tune: TuneParams, train: TrainParams, task: Task) -> list[Point]:
    """The configurations to try: each model's default first, then draws, models taking turns.

    The same parameters give the same points. Each is built once here, so that an impossible one is an error before
    any time is spent.

    Args:
        tune: Models, what may vary, how many trials.
        train: What a point's `train` replaces fields of.
        task: What models are built for.

    Raises:
        UserError: an unknown model or field, or a value that a model refuses.
    """
    found: list[Point] = []
    for i in range(tune.trials):
        name = list(tune.models)[i % len(tune.models)]
        space = tune.models[name]
        first = i < len(tune.models)
        rng = np.random.default_rng([tune.seed, i])
        config = {} if first else {field: _draw(values, rng) for field, values in space.config.items()}
        changes = {} if first else {field: _draw(values, rng) for field, values in space.train.items()}
        zoo.operations(zoo.build(name, config, task), task)  # builds and predicts once
        try:
            TrainParams.model_validate(train.model_dump() | changes)
        except ValidationError as error:
            problem = error.errors()[0]
            raise UserError(f"tune.models.{name}.train.{problem['loc'][0]}: {problem['msg']}") from None
        found.append({"model": name, "config": config, "train": changes})
    return found


def _draw(space: Space, rng: np.random.Generator) -> bool | int | float | str:
    if isinstance(space, UniformSpace):
        if space.log:
            return float(np.exp(rng.uniform(np.log(space.low), np.log(space.high))))
        return float(rng.uniform(space.low, space.high))
    return space[int(rng.integers(len(space)))]
