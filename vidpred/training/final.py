"""The chosen configuration at the full budget, kept as a model folder.

In: best.yaml of the sweep, or the model that `train` names. Out: `model.safetensors`, `model.json`,
`metrics.jsonl` and the pictures of `filmstrip.py`; and `curves.csv` for plots.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from vidpred.config import TrainParams
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.training.beginning import begin_with
from vidpred.training.budget import steps_within
from vidpred.training.data import Data
from vidpred.training.filmstrip import FOLDER, copy_rows
from vidpred.training.loop import Row, Trainer
from vidpred.types import Model
from vidpred.workspace import fresh_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What is to be trained."""

    model: str
    config: dict[str, Any]
    params: TrainParams
    """`train` of params.yaml with the sweep's changes."""


def choose(params: TrainParams, best: Path, kind: str = "predict") -> Choice:
    """The model that `train` names, else the sweep's best.

    Args:
        params: `train` of params.yaml.
        best: best.yaml.
        kind: Of the task.

    Raises:
        UserError: neither is there, or the model has nothing to train.
    """
    if params.model is not None:
        chosen = Choice(params.model, dict(params.config), params)
    else:
        try:
            found = yaml.safe_load(best.read_text())
        except FileNotFoundError:
            raise UserError(f"{best} not found: run `dvc repro tune`, or name a model in train.model") from None
        chosen = Choice(found["model"], found["config"], params.changed(found["train"]))
    if not zoo.is_trained(chosen.model, kind):
        raise UserError(
            f"{chosen.model} has nothing to train: name another in train.model, or leave it out of tune.models"
        )
    return chosen


def train_model(
    choice: Choice,
    data: Data,
    *,
    folder: Path,
    device: torch.device,
    checkpoint_every: int,
    begin: Path | None = None,
    on_evaluation: Callable[[Trainer, Row], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Trainer:
    """Trains to the full budget, going on from what `folder` holds.

    Args:
        choice: What is to be trained.
        data: Windows to train and validate on.
        folder: Of the run's state.
        device: Where to compute.
        checkpoint_every: Steps between two checkpoints.
        begin: Folder of the model that `train.init` names; None: the weights are drawn.
        on_evaluation: Called after every validation.
        should_stop: Asked after every step.

    Raises:
        Stopped: `should_stop` said so; a checkpoint is written.
        UserError: the loss stays without a finite value, or nothing of the model to begin with fits.
    """
    params = choice.params

    def build(steps: int, folder: Path) -> Trainer:
        torch.manual_seed(params.seed)
        model = zoo.build(choice.model, choice.config, data.task, Model)
        begun = None if begin is None else begin_with(model, begin)
        trainer = Trainer(
            model, data, params, steps=steps, device=device, folder=folder, checkpoint_every=checkpoint_every
        )
        trainer.begun = begun
        return trainer

    steps = params.steps if params.minutes is None else steps_within(params.minutes, build, folder)
    trainer = build(steps, folder)
    log.info(
        "training %s: %s parameters, %d steps of %d windows on %s in %s",
        choice.model, f"{trainer.parameters:,}", steps, params.batch_size, device,
        str(trainer.dtype).removeprefix("torch."),
    )  # fmt: skip
    trainer.run(on_evaluation=on_evaluation, should_stop=should_stop)
    return trainer


def write_outputs(trainer: Trainer, choice: Choice, *, out: Path, curves: Path) -> dict[str, Any]:
    """Writes the model folder and the curves; returns figures for a summary."""
    best = trainer.best
    figures = {k: best[k] for k in trainer.objective.watched if k in best}
    training = {"best_step": best["step"], "steps": trainer.steps, "precision": str(trainer.dtype)} | figures
    if trainer.step < trainer.steps:
        training["ended_at"] = trainer.step
    if trainer.begun is not None:
        training["init"] = trainer.begun
    made = trainer.data.shards.meta["parameters"]
    fresh_folder(out)
    save_model(
        out,
        trainer.best_model(),
        name=choice.model,
        config=choice.config,
        task=trainer.data.task,
        info={
            "data_id": trainer.data.shards.data_id,
            "fps": trainer.data.shards.fps,
            "fit": made["fit"],
            "background": made.get("background", "white"),
            "crop_bars": made.get("crop_bars", False),
            "flow": trainer.data.flow.model_dump(),
            "params": json.loads(choice.params.model_dump_json(exclude={"model", "config"})),
            "training": training,
        },
    )
    shutil.copyfile(trainer.folder / "metrics.jsonl", out / "metrics.jsonl")
    copy_rows(trainer, out / FOLDER)
    curves.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(trainer.rows)
    if (figure := trainer.objective.figure) in table:  # last, which is what `dvc plots` draws
        table[figure] = table.pop(figure)
    table.to_csv(curves, index=False)
    if doubt := trainer.objective.doubt(best):
        log.warning("%s", doubt)
    return {"model": choice.model, "parameters": trainer.parameters} | training
