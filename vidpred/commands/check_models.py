"""The part of `vidpred check` that needs torch: every model that params.yaml names is built, as its stage would.

A field that a model does not have, a value that it refuses, or a loss that it cannot be trained by, else comes to light
minutes or hours later, when clips have been fetched, frames made and a sweep is done.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from vidpred.config import Params, TrainParams
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import read_info
from vidpred.training.stages import planned
from vidpred.tuning.space import check_space, complete
from vidpred.types import Model, Predictor, Task
from vidpred.workspace import home


def check_models(path: Path, params: Params, classes: tuple[str, ...] = ()) -> None:
    """Makes sure that all models of `tune` and `train` can be built for the task, and trained as is asked.

    Args:
        path: Of params.yaml, for what is said.
        params: All of it; names of models are known to be right.
        classes: Of the clips, where they are known; else those that `train.augment.labels` names stand for them.

    Raises:
        UserError: one cannot; names the place.
    """
    if params.task.kind == "classify" and not classes:  # the clips will tell
        told = params.train.augment.labels.values()
        named = sorted({name for table in told for name in (*table, *table.values())})
        classes = tuple(named) if len(named) > 1 else ("one", "other")
    task = Task(
        context=params.task.context,
        horizon=params.task.ahead,
        height=params.transcode.height,
        width=params.transcode.width,
        interval=params.task.interval,
        kind=params.task.kind,
        classes=classes if params.task.kind == "classify" else (),
    )
    place = ""
    with torch.random.fork_rng(devices=[]):
        try:
            if params.task.kind == "classify":
                from vidpred.data.labels import tables_of  # which loads what only this task needs

                place = "task.kind classify"
                tables_of(params.train.augment, task.classes)
            if params.train.model is not None:
                place = "train.model"
                _trained(params.train.model, task)
                place = "train.config"
                model = zoo.build(params.train.model, params.train.config, task, Model)
                zoo.operations(model, task)  # predicts once
                place = "train"
                _fits(params.train.model, model, params.train, task)
                if params.train.minutes is None:
                    planned(model, params.train.steps, params.train.stage_shares)
            if params.train.init is not None:
                place = "train.init"
                _there(params.train.init, path.parent)
            for name in params.tune.models:
                place = "tune.models"
                _trained(name, task)
                place = f"tune.models.{name}"
                model = zoo.build(name, {}, task, Model)
                _fits(name, model, params.train, task)
                _plan_of_a_trial(model, params)
            place = ""
            check_space(complete(params.tune, task), params.train, task)
            if params.tune.warm_start:
                from vidpred.tuning.suggest import warm_points  # which loads what only this needs

                own = path.parent / "results/tune/best.yaml"
                warm_points(params.tune.warm_start, sweeps=home() / "tune", own=own, train=params.train, task=task)
        except UserError as error:
            raise UserError(f"{path}: {place}{': ' * bool(place)}{error}") from None


def _there(init: str, root: Path) -> None:
    """Whether a model to begin with is there, if it is a folder: a registry is asked when training begins."""
    from vidpred.tracking.meant import TRAINED, is_uri

    if is_uri(init):
        return
    folder = root / Path(init).expanduser()
    if folder.resolve() == (root / TRAINED).resolve():
        raise UserError(f"{init} is what the stage itself writes, and DVC removes it first: copy it elsewhere")
    read_info(folder)


def _trained(name: str, task: Task) -> None:
    if not zoo.is_trained(name, task.kind):
        raise UserError(f"{name} has nothing to train: name another")


def _fits(name: str, model: Model, train: TrainParams, task: Task) -> None:
    """Whether a model can be trained on what `train` cuts out of frames, and by its loss."""
    if train.augment.crop is not None:
        zoo.operations(model, replace(task, height=train.augment.crop, width=train.augment.crop))
    if "adversarial" in train.loss and isinstance(model, Predictor) and model.discriminators() is None:
        raise UserError(
            f"train.loss has adversarial, and {name} has no discriminators: take multiscale, in tune.models too (its "
            "trials share the loss), or leave adversarial out"
        )


def _plan_of_a_trial(model: Model, params: Params) -> None:
    try:
        planned(model, params.tune.steps, params.train.stage_shares)
    except UserError as error:
        raise UserError(str(error).replace("raise train.steps", "raise tune.steps")) from None
