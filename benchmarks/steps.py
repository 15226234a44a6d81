"""One training step of each contestant: ours by the real `Trainer`, and a plain one, at the same weights and batches.

In: a case (a network and its task) and a folder. Out: functions that take a step. `Contest.check` refuses sides that do
not compute the same.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import material, plain
from vidpred.config import FlowParams, TaskParams, TrainParams
from vidpred.data.clips import TrainSampler, evaluation_windows, evenly, task_of
from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.predict import convlstm, simvp
from vidpred.training.data import Data
from vidpred.training.loop import Trainer
from vidpred.types import Output, Predictor, Segment, Task

log = logging.getLogger(__name__)

SIZE = 64
"""Rows and columns of the frames."""
CPU = torch.device("cpu")
PLAIN = "plain"
"""The contestant that is not ours."""
_CLIPS, _FRAMES = 8, 40
_TOLERANCE = 1e-4
"""Largest difference between frames of ours and of the plain one, full scale being 1, and between their losses."""

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Case:
    """A network and what it is trained on."""

    model: Literal["convlstm", "simvp"]
    config: convlstm.Config | simvp.Config
    told: dict[str, Any]
    """The config as `train.config` has it."""
    what: str
    context: int = 5
    horizon: int = 1
    batch: int = 8
    channels: int = 3
    loss: tuple[tuple[Literal["perceptual", "gdl", "mse"], float], ...] = (("perceptual", 1.0), ("gdl", 0.25))

    def params(self, precision: Precision, **changes: object) -> TrainParams:
        """`train` of params.yaml."""
        fields = {"batch_size": self.batch, "precision": precision, "loss": dict(self.loss), "unroll_share": 0}
        return TrainParams.model_validate(fields | changes)


_SMALL_SIMVP: dict[str, Any] = {
    "variant": "seed", "filters": 32, "translator_filters": 128, "depth": 4, "translator_depth": 4
}  # fmt: skip
CASES = {
    "convlstm": Case("convlstm", convlstm.Config(), {}, "convlstm as it is by default, 5→1, 64x64, batches of 8"),
    "simvp": Case("simvp", simvp.Config(), {}, "simvp as it is by default, 5→1, 64x64, batches of 8"),
    "openstl": Case(
        "simvp", simvp.Config(**_SMALL_SIMVP), _SMALL_SIMVP,
        "SimVP gSTA of 3.36 M parameters, 10→10, 64x64, 1 channel, batches of 4",
        context=10, horizon=10, batch=4, channels=1, loss=(("mse", 1.0),),
    ),
}  # fmt: skip


class _Grey(Predictor):
    """A model of one channel where batches have three: it sees the first, and its frames stand for all."""

    def __init__(self, model: Predictor) -> None:
        super().__init__()
        self.model = model
        self.steps = model.steps

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        frames = self.model(context[:, :, :1], flow).frames
        return Output(frames.expand(-1, -1, context.shape[2], -1, -1))


def make_shards(folder: Path) -> None:
    """Shards of textured scenes that move."""
    clips = []
    for seed in range(_CLIPS):
        path = folder / f"{seed}.raw"
        path.write_bytes(np.stack(list(material.moving(seed, _FRAMES, SIZE, SIZE))).tobytes())
        digits = f"{seed:064x}"
        clips.append(
            RawClip(
                source=f"{seed}.mp4", sha256=digits, key=digits, number=0, group=str(seed), label="", fps=10.0,
                motion=5.0, frames=path, length=_FRAMES,
            )
        )  # fmt: skip
    write_shards(
        folder / "shards", clips, [], height=SIZE, width=SIZE, fps=10.0, buckets=2, parameters={}, ffmpeg="none"
    )


def _data(folder: Path, case: Case) -> Data:
    """Those shards, with windows to train and to validate on."""
    shards = Shards(folder / "shards")
    task = TaskParams(context=case.context, horizon=case.horizon)
    segments = [Segment(number, 0, clip.length) for number, clip in enumerate(shards.clips)]
    windows = evenly(evaluation_windows(segments, task=task), 4)
    return Data(shards, segments, windows, task_of(shards, task), FlowParams())


def _built(case: Case, task: Task) -> Predictor:
    """The model with random weights throughout: a head of zeros would leave what is before it untested."""
    torch.manual_seed(0)
    model = zoo.build(case.model, case.told, task)
    head = model.get_submodule("head")
    if isinstance(head, nn.Conv2d) and not head.weight.any():
        nn.init.normal_(head.weight, std=0.02)
    return model


class Contest:
    """One case: the plain trainer and ours, at the same weights, on the same batches.

    Args:
        case: Which.
        folder: Holds the shards.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.data = _data(folder, case)
        self.task = Task(
            context=case.context, horizon=case.horizon, height=SIZE, width=SIZE, channels=case.channels
        )  # fmt: skip
        self.model = _built(case, self.task)
        sampler = TrainSampler(
            self.data.shards, self.data.train, context=case.context, horizon=case.horizon, batch_size=case.batch, seed=0
        )
        self.batches = [sampler.batch(step) for step in range(4)]
        if case.channels == 1:
            self.batches = [np.repeat(batch[..., :1], batch.shape[-1], axis=-1) for batch in self.batches]

    def plain(self) -> plain.Plain:
        """The plain trainer."""
        return plain.Plain(plain.same(self.model, self.case.config, self.task), context=self.case.context)

    def trainer(self, precision: Precision, *, steps: int = 1_000_000, **changes: object) -> Trainer:
        """Ours."""
        model = copy.deepcopy(self.model)
        shown = _Grey(model) if self.case.channels == 1 else model
        params = self.case.params(precision, **changes)
        folder = self.folder / f"{precision}-{steps}"
        return Trainer(shown, self.data, params, steps=steps, device=CPU, folder=folder)

    def step(self, who: str) -> Callable[[int], float]:
        """What a contestant does with the number of a batch: a training step; gives the loss."""
        if who == PLAIN:
            theirs = self.plain()
            return lambda number: theirs.train_step(self._batch(number)[..., : self.case.channels])
        ours = self.trainer("bfloat16" if who == "bfloat16" else "float32")
        return lambda number: ours.train_step(self._batch(number))

    def _batch(self, number: int) -> np.ndarray:
        return self.batches[number % len(self.batches)]

    def check(self) -> None:
        """Both are the same function, and their first steps have the same loss.

        Raises:
            UserError: they differ: to compare their speed means nothing.
        """
        case, other = self.case, self.plain()
        context = torch.rand(2, case.context, case.channels, SIZE, SIZE)
        with torch.no_grad():
            frames = [copy.deepcopy(self.model).train()(context).frames, copy.deepcopy(other.model)(context)]
        apart = (frames[0] - frames[1]).abs().max().item()
        losses = [self.step(who)(0) for who in (PLAIN, "float32")]
        if apart > _TOLERANCE or abs(losses[0] - losses[1]) > _TOLERANCE:
            raise UserError(
                f"{case.model} and the plain one are not the same: frames differ by {apart:.2g}, losses are "
                f"{losses[0]:.6f} and {losses[1]:.6f}: the benchmark is void"
            )
        log.info("  the same frames but for %.1g", apart)
