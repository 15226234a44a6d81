"""One trial: the training loop with a small budget, reporting to the search. Runs in a worker."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vidpred.cluster.contract import Point, Reporter
from vidpred.cluster.scratch import scratch
from vidpred.config import Params, TrainParams
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.training.beginning import begin_with
from vidpred.training.budget import steps_within
from vidpred.training.data import Data, read_data
from vidpred.training.device import choose_device
from vidpred.training.loop import Row, Trainer
from vidpred.training.peers import Alone, Peers, averaged
from vidpred.tuning.results import metric_of
from vidpred.types import Model, Task

log = logging.getLogger(__name__)

_WARM, _TIMED = 3, 20
"""Predictions that are not timed, and those that are."""


@dataclass(frozen=True)
class Trial:
    """What the workers are sent; the folders must be the same on every machine."""

    shards: Path
    split: Path
    params: Params
    begin: Path | None = None
    """Folder of the model that `train.init` names; None: weights are drawn."""

    def __call__(self, point: Point, report: Reporter, peers: Peers) -> None:
        """Trains one point, validating at every rung; with peers its share of it.

        Raises:
            UserError: the loss or a validation is not finite, or nothing of the model to begin with fits.
        """
        torch.set_num_threads(1)  # trials run side by side: more threads would fight for the cores
        tune = self.params.tune
        data = read_data(self.shards, self.split, self.params)
        # the search decides how long a trial goes on
        train = self.params.train.changed(point["train"]).changed({"patience": None})
        device = choose_device(self.params.resources.device)
        turns = math.ceil(tune.steps / tune.grace_steps)
        checkpoint = report.resume_from()
        with scratch() as folder:
            steps = self._steps(point, train, data, kept=checkpoint, folder=Path(folder), peers=peers)
            every = tune.grace_steps if tune.compare == "steps" else math.ceil(steps / turns)
            trainer = self._trainer(point, train, data, steps=steps, folder=Path(folder) / "run", peers=peers)
            facts = {"steps": steps} | _facts(trainer.model, data.task)
            if "latency_ms" in tune.objectives:
                facts["latency_ms"] = latency_ms(trainer.model, data.task, device)
            if checkpoint:
                trainer.restore(next(checkpoint.glob("step-*")))

            def save(to: Path) -> None:
                trainer.save(to)
                (to / "steps.json").write_text(json.dumps({"steps": steps}))

            def tell(_: Trainer, row: Row) -> None:
                found = row[trainer.objective.figure]
                if not math.isfinite(found):
                    raise UserError(f"validation at step {row['step']} is not finite: lower train.learning_rate")
                report(row | facts | {"step": int(row["step"]), metric_of(data.task.kind): found}, save)

            trainer.run(on_evaluation=tell, evaluate_every=every)

    def _trainer(
        self, point: Point, train: TrainParams, data: Data, *, steps: int, folder: Path, peers: Peers
    ) -> Trainer:
        torch.manual_seed(train.seed)
        model = zoo.build(point["model"], point["config"], data.task, Model)
        begun = None if self.begin is None else begin_with(model, self.begin)
        trainer = Trainer(
            model,
            data,
            train,
            steps=steps,
            device=choose_device(self.params.resources.device),
            folder=folder,
            checkpoint_every=steps,  # every report saves one, where Ray keeps it
            peers=peers,
        )
        trainer.begun = begun
        return trainer

    def _steps(
        self, point: Point, train: TrainParams, data: Data, *, kept: Path | None, folder: Path, peers: Peers
    ) -> int:
        """Of the whole trial: as many as `tune` says, or as fit into its minutes: measured once, by one worker."""
        tune = self.params.tune
        if tune.trial_minutes is None:
            return tune.steps
        if kept is not None:
            return int(json.loads((kept / "steps.json").read_text())["steps"])
        turns = math.ceil(tune.steps / tune.grace_steps)

        def build(steps: int, folder: Path) -> Trainer:
            every = train.changed({"evaluate_every": math.ceil(steps / turns)})
            return self._trainer(point, every, data, steps=steps, folder=folder, peers=Alone())

        measured = steps_within(tune.trial_minutes, build, folder) if peers.rank == 0 else 0
        return max(turns, round(averaged(peers, measured)[0] * peers.size))


def _facts(model: Model, task: Task) -> dict[str, Any]:
    return {"parameters": zoo.parameters(model), "operations": zoo.operations(model, task)}


@torch.no_grad()
def latency_ms(model: Model, task: Task, device: torch.device) -> float:
    """Milliseconds of one prediction of one window, the median of several; in a trial, on a machine that is busy."""
    context = torch.zeros(1, task.context, task.channels, task.height, task.width, device=device)
    flow = torch.zeros(1, task.context - 1, 2, task.height, task.width, device=device) if model.needs_flow else None
    was_training = model.training
    model.eval()
    times = []
    try:
        for _ in range(_WARM + _TIMED):
            began = time.perf_counter()
            model(context, flow)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - began)
    finally:
        model.train(was_training)
    return 1000 * float(torch.tensor(times[_WARM:]).median())
