"""Small runs for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from vidpred.config import Params, TrainParams
from vidpred.models import zoo
from vidpred.training.data import Data
from vidpred.training.loop import Trainer


def trainer(
    data: Data,
    params: TrainParams,
    folder: Path,
    *,
    model: str = "warpmix",
    config: Mapping[str, object] | None = None,
    steps: int = 12,
    device: str = "cpu",
) -> Trainer:
    torch.manual_seed(0)
    smaller = {"width": 8} if model == "warpmix" else {}
    built = zoo.build(model, smaller if config is None else config, data.task)
    return Trainer(built, data, params, steps=steps, device=torch.device(device), folder=folder, checkpoint_every=5)


def small(params: Params, **changes: object) -> TrainParams:
    fields = {"batch_size": 4, "evaluate_every": 6, "val_windows": 8, "warmup_steps": 2}
    return TrainParams.model_validate(params.train.model_dump() | fields | changes)
