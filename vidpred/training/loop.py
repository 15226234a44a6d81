"""One training loop for every predictor.

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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor

from vidpred.config import TrainParams
from vidpred.data.clips import Sample, TrainSampler, flow_for, make_batch, prefetched, read_windows
from vidpred.data.flow_store import Quantised, stored_flow
from vidpred.errors import UserError
from vidpred.models.rollout import rollout
from vidpred.training import checkpoints
from vidpred.training.baselines import baseline_frames
from vidpred.training.data import Data
from vidpred.training.device import choose_precision
from vidpred.training.figures import BASELINES, NOTHING_MOVES, best_baseline, gain_in_words, relative_gain
from vidpred.training.losses import weighted
from vidpred.training.metrics import score
from vidpred.training.schedule import learning_rate
from vidpred.types import Batch, Predictor
from vidpred.workspace import atomic

log = logging.getLogger(__name__)

_WATCHED = ("perceptual_distance", "psnr_db")
"""Metrics that validation computes."""
NAN_LIMIT = 20
"""Steps in a row without a finite loss before the run is given up."""

Row = dict[str, float]
"""What one validation found: step, loss, val_perceptual_distance, …; val_gain only where something moves."""


class Stopped(Exception):
    """The run was asked to stop, and has written its checkpoint."""


class Trainer:
    """Trains one model; `folder` holds its checkpoints, best weights and `metrics.jsonl`.

    Args:
        model: A predictor with parameters.
        data: Windows to train and validate on.
        params: `train` of params.yaml.
        steps: Steps of the whole run; the schedule depends on it.
        device: Where to compute.
        folder: Where the run's state is kept; what is found there is gone on from.
        checkpoint_every: Steps between two checkpoints.

    Raises:
        UserError: the stored flow that the model would be trained on is of other frames, or damaged.
    """

    def __init__(
        self,
        model: Predictor,
        data: Data,
        params: TrainParams,
        *,
        steps: int,
        device: torch.device,
        folder: Path,
        checkpoint_every: int = 100,
    ) -> None:
        self.model = model.to(device).train()
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.data, self.params, self.steps, self.device, self.folder = data, params, steps, device, folder
        self.checkpoint_every = checkpoint_every
        self.stored = (
            stored_flow(data.flow_folder, data.shards, data.flow, interval=data.task.flow_interval)
            if model.needs_flow and data.flow_folder is not None
            else None
        )
        if self.stored is not None and params.augment.reverse:
            log.info("the stored flow leads back in time only: no window is played backwards (train.augment.reverse)")
        if self.stored is not None and params.augment.stride > 1:
            log.info("the stored flow leads back one interval only: frames stay that far apart (train.augment.stride)")
        self.dtype = choose_precision(params.precision, device)
        self.loss = weighted(params.loss)
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": params.weight_decay},
                {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=params.learning_rate,
            fused=True,
        )
        self._names = {id(p): n for n, p in named}
        self.step = 0
        self.best: Row = {}
        self.skipped_in_a_row = 0
        self.val_baselines: dict[str, float] = {}
        self.rows: list[Row] = []
        self._losses: list[float] = []
        folder.mkdir(parents=True, exist_ok=True)

    # ---- one step

    def train_step(self, frames: np.ndarray, flow: Quantised | None = None) -> float:
        """One optimiser step; returns the loss.

        Args:
            frames: uint8 (B, T + horizon, H, W, C).
            flow: Of the context, as it was stored; None: it is computed if the model needs it.

        Raises:
            UserError: the loss has not been finite for `NAN_LIMIT` steps.
        """
        torch.manual_seed(hash((self.params.seed, self.step)) % 2**63)  # hashes of integers are the same everywhere
        rate = learning_rate(
            self.step, peak=self.params.learning_rate, warmup_steps=self.params.warmup_steps, steps=self.steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self._loss(self._batch(frames, flow))
        self.step += 1
        self.optimizer.zero_grad(set_to_none=True)
        if not math.isfinite(loss.item()):  # before going backward: NaN coordinates crash grid_sample there
            return self._skip()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.params.clip_norm)
        if not math.isfinite(norm.item()):
            return self._skip()
        self.skipped_in_a_row = 0
        self.optimizer.step()
        self._follow()
        return loss.item()

    def _batch(self, frames: np.ndarray, stored: Quantised | None = None) -> Batch:
        computed = self.data.flow if self.model.needs_flow else None
        flow = computed if stored is None else stored
        task = self.data.task
        return make_batch(frames, context=task.context, between=task.between, device=self.device, flow=flow)

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            follow = flow_for(batch, self.data.flow)
            output = rollout(self.model, batch.context, batch.target.shape[1], flow=follow, target=batch.target)
        loss = self.loss(output.frames.float(), batch.target)
        for other in output.auxiliary:
            known = batch.target[:, : other.shape[1]]
            loss = loss + self.params.auxiliary_weight / len(output.auxiliary) * self.loss(other.float(), known)
        return loss

    def _skip(self) -> float:
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
        """The running average of the weights; early on it follows faster."""
        decay = min(self.params.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        for mine, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mine.copy_(theirs)

    # ---- validation

    @torch.no_grad()
    def validate(self) -> Row:
        """Scores the averaged weights on the validation windows, beside the baselines of the task."""
        sums, known = {"model": 0.0, "psnr": 0.0}, dict.fromkeys(BASELINES[self.data.task.kind], 0.0)
        task, count = self.data.task, 0
        for start in range(0, len(self.data.val), 32):
            windows = self.data.val[start : start + 32]
            frames = read_windows(self.data.shards, windows, count=task.context + task.horizon, interval=task.interval)
            batch = self._batch(frames)
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
                follow = flow_for(batch, self.data.flow)
                output = rollout(self.average, batch.context, task.horizon, flow=follow, clamp=True)
            found = score(output.frames, batch.target, only=_WATCHED)
            sums["model"] += float(found["perceptual_distance"].mean(dim=1).sum())
            sums["psnr"] += float(found["psnr_db"].mean(dim=1).sum())
            if not self.val_baselines:
                for name, shown in baseline_frames(batch, task.kind).items():
                    found = score(shown, batch.target, only=_WATCHED)
                    known[name] += float(found["perceptual_distance"].mean(dim=1).sum())
            count += len(windows)
        self.val_baselines = self.val_baselines or {name: total / count for name, total in known.items()}
        distance = sums["model"] / count
        gain = relative_gain(distance, best_baseline(self.val_baselines)[1])
        return {
            "val_perceptual_distance": distance,
            **{f"val_{name}": known for name, known in self.val_baselines.items()},
            **({} if gain is None else {"val_gain": gain}),
            "val_psnr_db": sums["psnr"] / count,
        }

    # ---- state

    def save(self, folder: Path) -> Path:
        """Writes a checkpoint of this moment into `folder`."""
        tensors = {f"model.{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"average.{n}": t for n, t in self.average.state_dict().items()}
        for parameter, state in self.optimizer.state.items():
            tensors |= {f"optimizer.{self._names[id(parameter)]}.{k}": v for k, v in state.items()}
        numbers = {
            "best": self.best,
            "skipped_in_a_row": self.skipped_in_a_row,
            "rows": self.rows,
            "losses": self._losses,
            "val_baselines": self.val_baselines,
        }
        return checkpoints.save(folder, self.step, tensors, numbers)

    def restore(self, checkpoint: Path) -> None:
        """Goes back to a checkpoint's moment."""
        tensors, numbers = checkpoints.load(checkpoint)
        self.model.load_state_dict(_part(tensors, "model."))
        self.average.load_state_dict(_part(tensors, "average."))
        for parameter, name in ((p, self._names[id(p)]) for g in self.optimizer.param_groups for p in g["params"]):
            state = _part(tensors, f"optimizer.{name}.")
            if state:  # a parameter that never had a gradient has none
                self.optimizer.state[parameter] = {k: self._placed(v, parameter) for k, v in state.items()}
        self.step, self.best, self.rows = int(numbers["step"]), numbers["best"], numbers["rows"]
        self.skipped_in_a_row, self._losses = numbers["skipped_in_a_row"], numbers["losses"]
        self.val_baselines = numbers["val_baselines"]

    @staticmethod
    def _placed(moment: Tensor, parameter: Tensor) -> Tensor:
        """In the parameter's own memory layout: the fused optimiser walks both as flat memory."""
        like = parameter if moment.shape == parameter.shape else moment.to(parameter.device)
        return torch.empty_like(like, requires_grad=False).copy_(moment)

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
        every = evaluate_every or self.params.evaluate_every
        found = checkpoints.latest(self.folder)
        if found:
            self.restore(found)
            log.info("going on from step %d of %d", self.step, self.steps)
        with _bar(self) as tick:
            pace = _Pace(self.params.batch_size)
            batches = self._batches()
            while self.step < self.steps:
                with pace.waiting():
                    _, sample = next(batches)
                self._losses.append(self.train_step(sample.frames, sample.flow))
                pace.steps += 1
                tick(self.step)
                if self.step % every == 0 or self.step == self.steps:
                    self._evaluate(pace, on_evaluation)
                    pace = _Pace(self.params.batch_size)
                stop = should_stop() and self.step < self.steps
                if stop or self.step % self.checkpoint_every == 0 or self.step == self.steps:
                    self.save(self.folder)
                if stop:
                    raise Stopped
        return self.best

    def _batches(self) -> Iterator[tuple[int, Sample]]:
        """Batches from the present step to the last; in the last part of the run with more frames to predict."""
        task, params = self.data.task, self.params
        turn = self.steps - round(self.steps * params.unroll_share)

        def sampler(horizon: int) -> TrainSampler:
            return TrainSampler(
                self.data.shards,
                self.data.train,
                context=task.context,
                horizon=horizon,
                interval=task.interval,
                between=task.between,
                batch_size=params.batch_size,
                seed=params.seed,
                motion_share=params.motion_share,
                augment=params.augment,
                flow=self.stored,
            )

        plain = sampler(task.horizon)
        unrolled = plain
        span = (task.context + params.unroll_steps - 1) * task.interval + 1
        longer = params.unroll_steps > task.horizon and not task.between
        if longer and any(segment.length >= span for segment in self.data.train):
            unrolled = sampler(params.unroll_steps)
        yield from prefetched(plain, self.step, turn)
        yield from prefetched(unrolled, max(self.step, turn), self.steps)

    def _evaluate(self, pace: _Pace, on_evaluation: Callable[[Trainer, Row], None] | None) -> None:
        """Validates, keeps the weights if they are the best so far, and tells of it."""
        finite = [x for x in self._losses if math.isfinite(x)]
        self._losses = []
        speed = pace.figures()  # before validation, which is not training
        row: Row = {"step": self.step, "loss": sum(finite) / len(finite) if finite else math.nan}
        row |= self.validate()
        self.rows.append(row)
        if not self.best or row["val_perceptual_distance"] < self.best["val_perceptual_distance"]:
            self.best = row
            with atomic(self.folder / "best.safetensors") as part:
                save_file({n: t.contiguous().cpu() for n, t in self.average.state_dict().items()}, part)
        with atomic(self.folder / "metrics.jsonl") as part:
            part.write_text("".join(json.dumps(r) + "\n" for r in self.rows))
        log.info(
            "step %d: loss %.4f, validation PD %.2f (%s %.2f, %s), %.0f clips/s",
            self.step, row["loss"], row["val_perceptual_distance"], *best_baseline(row, prefix="val_"), _told_gain(row),
            speed["clips_per_second"],
        )  # fmt: skip
        if on_evaluation:
            on_evaluation(self, row | speed)

    def best_model(self) -> Predictor:
        """The averaged weights that were best on validation, in eval mode on the CPU."""
        model = copy.deepcopy(self.average).cpu().eval()
        model.load_state_dict(load_file(self.folder / "best.safetensors"))
        return model


class _Pace:
    """How fast training goes, and how much of that time is spent waiting for batches."""

    def __init__(self, batch_size: int) -> None:
        self.steps = 0
        self._batch_size, self._began, self._waited = batch_size, time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def figures(self) -> Row:
        seconds = time.perf_counter() - self._began
        return {
            "clips_per_second": self.steps * self._batch_size / seconds,
            "input_wait_share": self._waited / seconds,
        }


def _told_gain(row: Row) -> str:
    return f"gain {gain_in_words(row['val_gain'])}" if "val_gain" in row else NOTHING_MOVES


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


@contextmanager
def _bar(trainer: Trainer) -> Iterator[Callable[[int], None]]:
    """A progress bar with clips a second and the gain over copying; nothing where stderr is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        TextColumn("train"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("train", total=trainer.steps, completed=trainer.step, note="")
        first, began = trainer.step, time.perf_counter()

        def tick(step: int) -> None:
            speed = (step - first) * trainer.params.batch_size / (time.perf_counter() - began)
            gain = f", {_told_gain(trainer.rows[-1])}" if trainer.rows else ""
            progress.update(bar, completed=step, note=f"{speed:.0f} clips/s{gain}")

        yield tick
