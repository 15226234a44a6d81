"""One training of the leaderboard: a model of the zoo, a seed and a learning rate under the plan's budget.

In: the bench. Out: a model folder in `VIDPRED_HOME/leaderboard/runs/<key>`, with `result.json` and the log beside it. A
run that is finished is only read; one that was broken off goes on from its checkpoint.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vidpred.errors import UserError
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.sources import code_digest
from vidpred.models import zoo
from vidpred.training.final import Choice, train_model, write_outputs
from vidpred.training.loop import Row, Stopped, Trainer
from vidpred.types import Model
from vidpred.workspace import digest, locked, write_json

RESULT = "result.json"
"""Written last: where it is, the run is finished."""
MODEL = "model"
"""The model folder of a run, in its folder."""
LOG = "log.txt"
"""What the training said, in its folder; the traceback too, where it broke."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One training."""

    model: str
    seed: int
    rate: float
    """Learning rate."""
    tuned: bool = False
    """With what the plan's sweep found, not the default."""

    @property
    def row(self) -> str:
        """Name of the row that it is for."""
        return f"{self.model} (tuned)" if self.tuned else self.model

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}, rate {self.rate:g}"


def run_folder(bench: Bench, run: Run) -> Path:
    """Where a run is kept: a folder named by a hash over all that its weights depend on."""
    kind = bench.data.task.kind
    model = zoo.module(run.model, kind)
    config = asdict(zoo.config_of(run.model, bench.plan.config(tuned=run.tuned), kind))
    train = bench.plan.train(seed=run.seed, rate=run.rate, tuned=run.tuned)
    parts = {
        "model": run.model,
        "config": config,
        "train": train.model_dump(),
        "task": asdict(bench.data.task),
        "data": [bench.data.shards.data_id, bench.training_id],
        "flow": bench.flow_id if _needs_flow(run, bench) else "",
        "code": code_digest(model.__name__, "vidpred.training.final"),
    }
    return bench.plan.folder / "runs" / digest(parts)[:16]


def train_run(bench: Bench, run: Run, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Trains, or reads what a finished training left.

    Returns:
        result.json: `folder` (of the model), `seed`, `rate`, `steps`, `best_step`, the plan's `figure`,
        `clips_per_second` (None where it was not measured) and `seconds`.

    Raises:
        Stopped: `should_stop` said so; a checkpoint is written.
        UserError: the model cannot do the task, or its loss stays without a finite value.
    """
    folder = run_folder(bench, run)
    with locked(folder):
        if (folder / RESULT).is_file():
            return _read(folder)
        torch.set_num_threads(bench.plan.threads)
        train = bench.plan.train(seed=run.seed, rate=run.rate, tuned=run.tuned)
        choice = Choice(run.model, bench.plan.config(tuned=run.tuned), train)
        speeds: list[float] = []

        def note(_: Trainer, row: Row) -> None:
            speeds.append(row["clips_per_second"])

        began = time.monotonic()
        with quietly(folder / LOG):
            trainer = train_model(
                choice, bench.data, folder=folder, device=bench.device,
                checkpoint_every=bench.plan.params.resources.checkpoint_every, on_evaluation=note,
                should_stop=should_stop,
            )  # fmt: skip
            summary = write_outputs(trainer, choice, out=folder / MODEL, curves=folder / "curves.csv")
        write_json(
            folder / RESULT,
            {
                "model": run.model,
                "seed": run.seed,
                "rate": run.rate,
                "steps": summary.get("ended_at", summary["steps"]),
                "best_step": summary["best_step"],
                bench.plan.figure: summary[bench.plan.figure],
                "clips_per_second": statistics.median(speeds) if speeds else None,
                "seconds": time.monotonic() - began,
            },
        )
        for checkpoint in folder.glob("step-*"):  # what they were for is done, and they are three times the weights
            shutil.rmtree(checkpoint)
    return _read(folder)


@contextmanager
def quietly(path: Path) -> Iterator[None]:
    """Sends log lines to a file, and in a worker process progress bars too: many at once say nothing on a terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    alone = multiprocessing.parent_process() is None
    with path.open("a", encoding="utf-8") as file, nullcontext() if alone else redirect_stderr(file):
        handler = logging.StreamHandler(file)
        root = logging.getLogger()
        before, level = root.handlers[:], root.level
        root.handlers, root.level = [handler], logging.INFO
        try:
            yield
        except (UserError, Stopped):  # told elsewhere, in a line
            raise
        except Exception:
            log.exception("it failed")
            raise
        finally:
            root.handlers, root.level = before, level


def _needs_flow(run: Run, bench: Bench) -> bool:
    with torch.random.fork_rng(devices=[]):
        return zoo.build(run.model, bench.plan.config(tuned=run.tuned), bench.data.task, Model).needs_flow


def _read(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / RESULT).read_text())
    return result | {"folder": str(folder / MODEL)}
