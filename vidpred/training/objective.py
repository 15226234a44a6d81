"""What a model is trained for: from frames to the number that is made small, and the figures it is watched by.

In: uint8 windows and the stage that the run is in. Out: the loss of that stage, with a gradient: one of the model's
own, or `train.loss` on what it predicts, from its own predictions where the windows ask for more frames than it gives.
A classifier has other losses and figures (`vidpred.training.classes`); the loop knows of either only what `Goal` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vidpred.config import TrainParams
from vidpred.data.clips import flow_for, make_batch
from vidpred.data.flow_store import Quantised
from vidpred.models.rollout import rollout
from vidpred.training import validation
from vidpred.training.adversary import Adversary
from vidpred.training.classes import ClassObjective
from vidpred.training.data import Data
from vidpred.training.device import choose_precision
from vidpred.training.figures import BASELINES, best_baseline
from vidpred.training.losses import GIVEN, weighted
from vidpred.training.peers import Peers
from vidpred.training.stages import JOINT, Stage
from vidpred.training.validation import Row
from vidpred.types import Batch, Classifier, Model, Predictor


class Goal(Protocol):
    """What a run is for: its losses, and its figures on validation windows."""

    dtype: torch.dtype
    """Of autocast."""
    adversary: Adversary | None
    """What the model is trained against."""
    bars: tuple[str, ...]
    """Baselines that a row has a figure of, `val_<name>`: the same at every validation, so computed at the first."""
    figure: str
    """Of a row: what a sweep makes small."""
    watched: tuple[str, ...]
    """Figures of a row that stand in a run's summary, where the row has them."""

    def batch(self, frames: np.ndarray, stored: Quantised | None = None, labels: np.ndarray | None = None) -> Batch:
        """Windows on the device."""

    def loss(self, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
        """The loss of a stage, and what else is to be told of it."""

    def adversary_loss(self, adversary: Adversary, batch: Batch) -> Tensor:
        """What the adversary loses on what the model does now."""

    def validate(self, model: Model, stage: Stage, *, known: Mapping[str, float], peers: Peers) -> Row:
        """The figures of weights on validation windows; `known`: those of `bars`, or none."""

    def rank(self, row: Row) -> tuple[float, ...]:
        """What a validation is judged by, the smaller the better."""

    def in_words(self, row: Row) -> str:
        """A row in a few words."""

    def tell(self, row: Row, speed: Row, *, stage: Stage, judged: Sequence[Row]) -> None:
        """A line in the log, and a warning where the model has learned nothing."""

    def doubt(self, best: Row) -> str:
        """What is to be said of a finished run; nothing where it has learned something."""


def goal_of(model: Model, data: Data, params: TrainParams, device: torch.device) -> Goal:
    """What a model is trained for.

    Raises:
        UserError: as `Objective` and `ClassObjective`.
    """
    if isinstance(model, Classifier):
        return ClassObjective(model, data, params, device)
    if not isinstance(model, Predictor):
        raise TypeError(f"{type(model).__name__} neither predicts nor classifies")
    return Objective(model, data, params, device)


class Objective:
    """The losses of a run that predicts frames, judged by the perceptual distance.

    Args:
        model: On the device.
        data: What batches are of.
        params: `train` of params.yaml.
        device: Where to compute.

    Raises:
        UserError: an adversary is asked for and the model has none.
    """

    figure = "val_perceptual_distance"

    def __init__(self, model: Predictor, data: Data, params: TrainParams, device: torch.device) -> None:
        self.model, self.data, self.params, self.device = model, data, params, device
        self.dtype = choose_precision(params.precision, device)
        self._total = weighted(params.loss)
        self._of_frames = weighted({name: weight for name, weight in params.loss.items() if name not in GIVEN})
        self.adversary = Adversary(model, params, device) if "adversarial" in params.loss else None
        self.bars = BASELINES[data.task.kind]
        self.watched = (
            "val_perceptual_distance", *(f"val_{name}" for name in self.bars), "val_gain", "val_psnr_db"
        )  # fmt: skip

    def batch(self, frames: np.ndarray, stored: Quantised | None = None, labels: np.ndarray | None = None) -> Batch:
        """uint8 frames (B, T + horizon, H, W, C) as the model sees them, with flow where it needs it."""
        computed = self.data.flow if self.model.needs_flow else None
        flow = computed if stored is None else stored
        task = self.data.task
        return make_batch(frames, context=task.context, between=task.between, device=self.device, flow=flow)

    def loss(self, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
        """The loss of a stage, and what else is to be told of it."""
        if stage.name != JOINT:
            with self._autocast():
                return self.model.stage_loss(stage.name, batch), {}
        given: dict[str, Tensor] = {}
        with self._autocast():
            follow = flow_for(batch, self.data.flow)
            output = rollout(self.model, batch.context, batch.target.shape[1], flow=follow, target=batch.target)
            if self.adversary:
                given["adversarial"] = self.adversary.fooled(batch.context, output.scales)
        if output.kl is not None:
            given["kl"] = output.kl
        loss = self._total(output.frames.float(), batch.target, given)
        for other in output.auxiliary:
            known = batch.target[:, : other.shape[1]]
            weight = self.params.auxiliary_weight / len(output.auxiliary)
            loss = loss + weight * self._of_frames(other.float(), known)
        return loss, {name: value.item() for name, value in given.items() if name in self.params.loss}

    def adversary_loss(self, adversary: Adversary, batch: Batch) -> Tensor:
        """What the discriminators lose on what the model predicts now."""
        steps = self.model.steps
        with self._autocast():
            with torch.no_grad():
                predicted = rollout(self.model, batch.context, steps, flow=flow_for(batch, self.data.flow)).scales
            return adversary.loss(batch.context, self.model.pyramid(batch.target[:, :steps]), predicted)

    def validate(self, model: Model, stage: Stage, *, known: Mapping[str, float], peers: Peers) -> Row:
        """How far predictions are from what followed, beside the baselines of the task."""
        if not isinstance(model, Predictor):
            raise TypeError(f"{type(model).__name__} predicts nothing")
        return validation.validate(
            model, self.data, stage, batch_of=self.batch, dtype=self.dtype, baselines=known, peers=peers
        )

    def rank(self, row: Row) -> tuple[float, ...]:
        """By the perceptual distance."""
        return (row["val_perceptual_distance"],)

    def in_words(self, row: Row) -> str:
        """As `validation.in_words`."""
        return validation.in_words(row)

    def tell(self, row: Row, speed: Row, *, stage: Stage, judged: Sequence[Row]) -> None:
        """As `validation.tell`."""
        validation.tell(row, speed, stage=stage, judged=judged)

    def doubt(self, best: Row) -> str:
        """Whether it beats its baselines."""
        if "val_gain" not in best:
            return "nothing moves in the validation windows: copying the last frame cannot be beaten there"
        if best["val_gain"] > 0:
            return ""
        bar = best_baseline(best, prefix="val_")[0]
        return f"the model is no better than {bar}: train longer, or see docs/training.md"

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)
