"""One trial: the training loop with a small budget, reporting to the search. Runs in a worker."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from vidpred.cluster.search import Point, Reporter
from vidpred.config import Params
from vidpred.models import zoo
from vidpred.training.data import read_data
from vidpred.training.device import choose_device
from vidpred.training.loop import Row, Trainer
from vidpred.training.peers import Peers


@dataclass(frozen=True)
class Trial:
    """What the workers are sent; the folders must be the same on every machine."""

    shards: Path
    split: Path
    params: Params

    def __call__(self, point: Point, report: Reporter, peers: Peers) -> None:
        """Trains one point, validating at every rung; with peers its share of it."""
        torch.set_num_threads(1)  # trials run side by side: more threads would fight for the cores
        params = self.params
        data = read_data(self.shards, self.split, params)
        # the search decides how long a trial goes on
        train = params.train.model_validate(params.train.model_dump() | point["train"] | {"patience": None})
        torch.manual_seed(train.seed)
        model = zoo.build(point["model"], point["config"], data.task)
        facts = {"parameters": zoo.parameters(model), "operations": zoo.operations(model, data.task)}
        with tempfile.TemporaryDirectory(prefix="vidpred-trial-") as folder:
            trainer = Trainer(
                model,
                data,
                train,
                steps=params.tune.steps,
                device=choose_device(params.resources.device),
                folder=Path(folder),
                checkpoint_every=params.tune.steps,  # every report saves one, where Ray keeps it
                peers=peers,
            )
            checkpoint = report.resume_from()
            if checkpoint:
                trainer.restore(next(checkpoint.glob("step-*")))

            def tell(trainer: Trainer, row: Row) -> None:
                figures = (
                    row | facts | {"step": int(row["step"]), "perceptual_distance": row["val_perceptual_distance"]}
                )
                report(figures, trainer.save)

            trainer.run(on_evaluation=tell, evaluate_every=params.tune.grace_steps)
