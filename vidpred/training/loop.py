"""One training loop for every model.

In: a model, windows to train on and to validate on, `train` of params.yaml. Out: the averaged weights that were best
on validation, and a row of figures for every validation.

Nothing about a step depends on what ran before it in this process: the step's number and the seed decide its batch
and its noise. So a run that goes on from a checkpoint ends in the same bits as one that was never broken.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from vidpred.config import TrainParams
from vidpred.data.clips import Sample
from vidpred.data.flow_store import Quantised, stored_flow
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.training import checkpoints, pace, stages, validation
from vidpred.training.adversary import Adversary, part
from vidpred.training.compiled import Compiled
from vidpred.training.curriculum import batches, parts
from vidpred.training.data import Data
from vidpred.training.device import keep_memory
from vidpred.training.objective import goal_of
from vidpred.training.peers import Alone, Peers, average_gradients, averaged
from vidpred.training.player import Player
from vidpred.training.schedule import learning_rate
from vidpred.training.stages import JOINT, Stage
from vidpred.training.validation import Row
from vidpred.types import Model
from vidpred.workspace import atomic

__all__ = ["NAN_LIMIT", "Row", "Stopped", "Trainer"]

log = logging.getLogger(__name__)

NAN_LIMIT = 20
"""Steps in a row without a finite loss before the run is given up."""


class Stopped(Exception):
    """The run was asked to stop, and has written its checkpoint."""


class Trainer:
    """Trains one model; `folder` holds its checkpoints, best weights and `metrics.jsonl`.

    Args:
        model: With parameters.
        data: Windows to train and validate on.
        params: `train` of params.yaml.
        steps: Steps of the whole run; the schedule depends on it.
        device: Where to compute.
        folder: Where the run's state is kept; what is found there is gone on from.
        checkpoint_every: Steps between two checkpoints.
        peers: Other workers that train the same model on their share of each batch; the first of them writes.

    Raises:
        UserError: the stored flow that the model would be trained on is of other frames, or damaged; or `params` asks
            for stages or an adversary that the model does not have.
    """

    def __init__(
        self,
        model: Model,
        data: Data,
        params: TrainParams,
        *,
        steps: int,
        device: torch.device,
        folder: Path,
        checkpoint_every: int = 100,
        peers: Peers | None = None,
    ) -> None:
        self.model = model.to(device).train()
        self.parameters = zoo.parameters(model)  # of all stages: later some are frozen
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.data, self.params, self.steps, self.device, self.folder = data, params, steps, device, folder
        self.checkpoint_every = checkpoint_every
        self.peers: Peers = peers or Alone()
        if (goes := params.accumulate * self.peers.size) > params.batch_size:
            raise UserError(
                f"train.batch_size is {params.batch_size}, but is to be shared out over {goes} goes: raise it"
            )
        self.stored = (
            stored_flow(data.flow_folder, data.shards, data.flow, interval=data.task.flow_interval)
            if model.needs_flow and data.flow_folder is not None
            else None
        )
        if self.stored is not None and params.augment.reverse:
            log.info("the stored flow leads back in time only: no window is played backwards (train.augment.reverse)")
        if self.stored is not None and params.augment.stride > 1:
            log.info("the stored flow leads back one interval only: frames stay that far apart (train.augment.stride)")
        self.objective = goal_of(self.model, data, params, device)
        self.dtype, self.adversary = self.objective.dtype, self.objective.adversary
        self.compiled = Compiled(self.model, wanted=params.compile)
        self.plan = stages.planned(self.model, steps, params.stage_shares)
        if all(stage.name != JOINT for stage in self.plan):
            log.info(
                "each stage has a loss of its own: train.loss has no part but in a stage joint of train.stage_shares"
            )
        self.begun: dict[str, Any] | None = None
        """Of the model that it began with, if any; see `beginning`."""
        self.step = 0
        self.best: Row = {}
        self.skipped_in_a_row = 0
        self.val_baselines: dict[str, float] = {}
        self.rows: list[Row] = []
        self._seen: dict[str, list[float]] = {}
        self._enter(0)
        folder.mkdir(parents=True, exist_ok=True)

    # ---- stages

    @property
    def stage(self) -> Stage:
        """The stage that the last step was of; before any, the first."""
        return self.plan[self._place]

    def _enter(self, place: int) -> None:
        """Begins a stage: its parameters move, all others stand still."""
        self._place = place
        named = stages.moving(self.model, self.stage)
        self.player = Player(named, weight_decay=self.params.weight_decay, clip_norm=self.params.clip_norm)

    @torch.no_grad()
    def _next_stage(self) -> None:
        """What a stage has trained is from now on its average: the next one builds on the weights that are kept."""
        for mine, theirs in zip(self.model.parameters(), self.average.parameters(), strict=True):
            mine.copy_(theirs)
        self._enter(self._place + 1)

    def jump(self, step: int) -> None:
        """Goes on as if all steps up to this one had been taken; for those who only want to see how a step goes."""
        self.step = step
        self._enter(next(i for i, stage in enumerate(self.plan) if step < stage.last))

    # ---- one step

    def train_step(self, frames: np.ndarray, flow: Quantised | None = None, labels: np.ndarray | None = None) -> float:
        """One optimiser step; returns the loss.

        Args:
            frames: uint8 (B, T + horizon, H, W, C); of several workers each takes its share.
            flow: Of the context, as it was stored; None: it is computed if the model needs it.
            labels: int64 (B,), the number of each window's class, for a classifier.

        Raises:
            UserError: the loss has not been finite for `NAN_LIMIT` steps.
        """
        if self.step == self.stage.last:
            self._next_stage()
        stage, rank = self.stage, self.peers.rank
        key = (self.params.seed, self.step, rank) if rank else (self.params.seed, self.step)
        torch.manual_seed(hash(key) % 2**63)  # hashes of integers are the same everywhere
        rate = learning_rate(
            self.step - stage.first,
            peak=self.params.learning_rate,
            warmup_steps=self.params.warmup_steps,
            steps=stage.steps,
        )
        goes = list(
            parts(Sample(frames, flow, labels), rank=rank, workers=self.peers.size, accumulate=self.params.accumulate)
        )
        if self.adversary and stage.name == JOINT:
            adversary = self.adversary
            lost = self.compiled.attempt(lambda: self._teach(adversary, goes))
            adversary.player.move(rate * self.params.discriminator_rate)  # not where it is not finite
            self._note("discriminator", lost)
        loss = self.compiled.attempt(lambda: self._descend(goes))
        self.step += 1
        if not math.isfinite(loss) or not self.player.move(rate):
            return self._skip()
        self.skipped_in_a_row = 0
        self._follow()
        return loss

    def _descend(self, goes: list[tuple[Sample, float]]) -> float:
        """The loss of a batch, and its gradients; none of a loss that is not finite."""
        self.player.still()
        total = 0.0
        for go, weight in goes:
            found, told = self.objective.loss(self.objective.batch(go.frames, go.flow, go.labels), self.stage)
            loss = weight * found
            total += averaged(self.peers, loss.item())[0]
            if not math.isfinite(total):  # before going backward: NaN coordinates crash grid_sample there
                break
            loss.backward()
            for name, value in told.items():
                self._note(name, value)
        else:
            average_gradients(self.peers, self.player.parameters)
        return total

    def _teach(self, adversary: Adversary, goes: list[tuple[Sample, float]]) -> float:
        """The discriminators' loss of a batch, and its gradients."""
        adversary.player.still()
        total = 0.0
        for go, weight in goes:
            loss = weight * self.objective.adversary_loss(
                adversary, self.objective.batch(go.frames, go.flow, go.labels)
            )
            total += averaged(self.peers, loss.item())[0]
            loss.backward()
        average_gradients(self.peers, adversary.player.parameters)
        return total

    def _note(self, name: str, value: float) -> None:
        self._seen.setdefault(name, []).append(value)

    @torch.no_grad()
    def _skip(self) -> float:
        """Leaves a step out: no weight has moved, and what batch norm made of it is forgotten."""
        for mine, before in zip(self.model.buffers(), self.average.buffers(), strict=True):
            mine.copy_(before)
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row == 1:
            log.warning("step %d: the loss is not finite; its update is left out", self.step)
        if self.skipped_in_a_row >= NAN_LIMIT:
            raise UserError(
                f"the loss has not been finite for {NAN_LIMIT} steps, the last of them {self.step}: lower "
                f"train.learning_rate (now {self.params.learning_rate:g}) or set train.precision to float32"
            )
        return math.nan

    @torch.no_grad()
    def _follow(self) -> None:
        """The running average of the weights; early in a stage it follows faster. Frozen ones are their own average."""
        step = self.step - self.stage.first
        decay = min(self.params.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        for mine, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mine.copy_(theirs)

    # ---- validation

    def validate(self) -> Row:
        """Scores the averaged weights on the validation windows, beside the baselines of the task."""
        row = self.objective.validate(self.average, self.stage, known=self.val_baselines, peers=self.peers)
        self.val_baselines = {name: row[f"val_{name}"] for name in self.objective.bars}
        return row

    # ---- state

    def save(self, folder: Path) -> Path:
        """Writes a checkpoint of this moment into `folder`."""
        tensors = {f"model.{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"average.{n}": t for n, t in self.average.state_dict().items()}
        tensors |= {f"optimizer.{n}": t for n, t in self.player.tensors().items()}
        if self.adversary:
            tensors |= {f"adversary.{n}": t for n, t in self.adversary.tensors().items()}
        numbers = {
            "stage": self._place,
            "best": self.best,
            "skipped_in_a_row": self.skipped_in_a_row,
            "rows": self.rows,
            "seen": self._seen,
            "val_baselines": self.val_baselines,
        }
        return checkpoints.save(folder, self.step, tensors, numbers)

    def restore(self, checkpoint: Path) -> None:
        """Goes back to a checkpoint's moment."""
        tensors, numbers = checkpoints.load(checkpoint)
        self.model.load_state_dict(part(tensors, "model."))
        self.average.load_state_dict(part(tensors, "average."))
        self._enter(numbers["stage"])
        self.player.restore(part(tensors, "optimizer."))
        if self.adversary:
            self.adversary.restore(part(tensors, "adversary."))
        self.step, self.best, self.rows = int(numbers["step"]), numbers["best"], numbers["rows"]
        self.skipped_in_a_row, self._seen = numbers["skipped_in_a_row"], numbers["seen"]
        self.val_baselines = numbers["val_baselines"]

    # ---- the run

    def run(
        self,
        *,
        on_evaluation: Callable[[Trainer, Row], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        evaluate_every: int | None = None,
    ) -> Row:
        """Trains to the last step and returns the best validation's row.

        Args:
            on_evaluation: Called after every validation.
            should_stop: Asked after every step; a checkpoint is written before the run ends early.
            evaluate_every: Steps between validations, instead of `train.evaluate_every`.

        Raises:
            Stopped: `should_stop` said so.
            UserError: the loss stays without a finite value.
        """
        keep_memory()
        every = evaluate_every or self.params.evaluate_every
        found = checkpoints.latest(self.folder)
        if found:
            self.restore(found)
            log.info("going on from step %d of %d", self.step, self.steps)
        with pace.bar(first=self.step, steps=self.steps, batch_size=self.params.batch_size) as tick:
            speed = pace.Pace(self.params.batch_size, self.device)
            coming = batches(self.data, self.params, self.stored, first=self.step, steps=self.steps)
            while not self.ended:
                with speed.waiting():
                    _, sample = next(coming)
                self._note("loss", self.train_step(sample.frames, sample.flow, sample.labels))
                speed.steps += 1
                tick(self.step, self.objective.in_words(self.rows[-1]) if self.rows else "")
                if self.step % every == 0 or self.step == self.stage.last:
                    self._evaluate(speed.figures(), on_evaluation)  # validation is not training
                    speed = pace.Pace(self.params.batch_size, self.device)
                stop = bool(averaged(self.peers, should_stop())[0]) and not self.ended
                if self.peers.rank == 0 and (stop or self.step % self.checkpoint_every == 0 or self.ended):
                    self.save(self.folder)
                if stop:
                    raise Stopped
        if self.step < self.steps:
            log.info(
                "no validation was better for %s in a row: the run ends at step %d", self.params.patience, self.step
            )
        return self.best

    @property
    def ended(self) -> bool:
        """Whether all steps are done, or the last few validations of `train.patience` were no better."""
        patience = self.params.patience
        return self.step >= self.steps or (patience is not None and self._worse_for >= patience)

    @property
    def _worse_for(self) -> int:
        """Validations since the best one."""
        return validation.worse_for(self._judged, self.objective.rank)

    @property
    def _judged(self) -> list[Row]:
        """The validations that the best one is chosen of: those of the last stage."""
        return [row for row in self.rows if row["step"] > self.plan[-1].first]

    def _evaluate(self, speed: Row, on_evaluation: Callable[[Trainer, Row], None] | None) -> None:
        """Validates, keeps the weights if they are the best so far, and tells of it."""
        row: Row = {"step": self.step} | {"loss": math.nan} | {n: _mean(values) for n, values in self._seen.items()}
        self._seen = {}
        row |= self.validate()
        self.rows.append(row)
        if self._judged and self._worse_for == 0:
            self.best = row
            self._write_best()
        if self.peers.rank == 0:
            with atomic(self.folder / "metrics.jsonl") as new:
                new.write_text("".join(json.dumps(r) + "\n" for r in self.rows))
        self.objective.tell(row, speed, stage=self.stage, judged=self._judged)
        if on_evaluation:
            on_evaluation(self, row | speed)

    def _write_best(self) -> None:
        if self.peers.rank == 0:
            with atomic(self.folder / "best.safetensors") as new:
                save_file({n: t.contiguous().cpu() for n, t in self.average.state_dict().items()}, new)

    def best_model(self) -> Model:
        """The averaged weights that were best on validation, in eval mode on the CPU."""
        model = copy.deepcopy(self.average).cpu().eval()
        model.load_state_dict(load_file(self.folder / "best.safetensors"))
        return model


def _mean(values: list[float]) -> float:
    finite = [x for x in values if math.isfinite(x)]
    return sum(finite) / len(finite) if finite else math.nan
