"""The part of `vidpred check` that needs torch: every model that params.yaml names is built, as its stage would.

A field that a model does not have, or a value that it refuses, else comes to light minutes later, when clips have been
fetched and frames made.
"""

from __future__ import annotations

from pathlib import Path

import torch

from vidpred.config import Params, UniformSpace
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.tuning.space import points
from vidpred.types import Task


def check_models(path: Path, params: Params) -> None:
    """Makes sure that all models of `tune` and `train` can be built for the task.

    Args:
        path: Of params.yaml, for what is said.
        params: All of it; names of models are known to be right.

    Raises:
        UserError: one cannot; names the place.
    """
    task = Task(
        context=params.task.context,
        horizon=params.task.horizon,
        height=params.transcode.height,
        width=params.transcode.width,
        interval=params.task.interval,
        kind=params.task.kind,
    )
    place = ""
    with torch.random.fork_rng(devices=[]):
        try:
            if params.train.model is not None:
                place = "train.model"
                _trained(params.train.model)
                place = "train.config"
                zoo.build(params.train.model, params.train.config, task)
            for name, space in params.tune.models.items():
                place = "tune.models"
                _trained(name)
                place = f"tune.models.{name}.config"
                for field, values in space.config.items():  # also what no trial happens to draw
                    for value in (values.low, values.high) if isinstance(values, UniformSpace) else values:
                        zoo.config_of(name, {field: value})
            place = "tune.models"
            points(params.tune, params.train, task)
        except UserError as error:
            raise UserError(f"{path}: {place}: {str(error).removeprefix('tune.models.')}") from None


def _trained(name: str) -> None:
    if not zoo.is_trained(name):
        raise UserError(f"{name} has nothing to train: name another")
