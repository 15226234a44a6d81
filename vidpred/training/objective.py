"""What a model is trained for: from frames to the number that is made small.

In: uint8 windows and the stage that the run is in. Out: the loss of that stage, with a gradient: one of the model's
own, or `train.loss` on what it predicts, from its own predictions where the windows ask for more frames than it gives.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vidpred.config import TrainParams
from vidpred.data.clips import flow_for, make_batch
from vidpred.data.flow_store import Quantised
from vidpred.models.rollout import rollout
from vidpred.training.adversary import Adversary
from vidpred.training.data import Data
from vidpred.training.device import choose_precision
from vidpred.training.losses import GIVEN, weighted
from vidpred.training.stages import JOINT, Stage
from vidpred.types import Batch, Predictor


class Objective:
    """The losses of a run.

    Args:
        model: On the device.
        data: What batches are of.
        params: `train` of params.yaml.
        device: Where to compute.

    Raises:
        UserError: an adversary is asked for and the model has none.
    """

    def __init__(self, model: Predictor, data: Data, params: TrainParams, device: torch.device) -> None:
        self.model, self.data, self.params, self.device = model, data, params, device
        self.dtype = choose_precision(params.precision, device)
        self._total = weighted(params.loss)
        self._of_frames = weighted({name: weight for name, weight in params.loss.items() if name not in GIVEN})
        self.adversary = Adversary(model, params, device) if "adversarial" in params.loss else None

    def batch(self, frames: np.ndarray, stored: Quantised | None = None) -> Batch:
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

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)
