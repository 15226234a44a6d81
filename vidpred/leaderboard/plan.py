"""What is asked of a leaderboard: data, models, seeds, learning rates and the budget that all of them get.

In: the project's root and the options of the command line. Out: a `Plan`, checked, which worker processes are sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vidpred.config import Params, TrainParams, load_params
from vidpred.errors import UserError
from vidpred.leaderboard.tuned import Tuned, read_tuned
from vidpred.models import zoo
from vidpred.training.figures import BASELINES
from vidpred.types import Task
from vidpred.workspace import cores, home

RATES = (1e-3, 3e-3)
"""Learning rates that every model is tried with; what suits one structure makes another collapse."""


@dataclass(frozen=True)
class Plan:
    """One leaderboard; the same for all its models."""

    shards: Path
    """Folder of frames."""
    split: Path
    """Folder of the split."""
    by_time: bool
    """Whether the split is by time: then stretches of a video are drawn for intervals, not whole groups."""
    params: Params
    """All of params.yaml; `train` holds the budget."""
    models: tuple[str, ...]
    """Those to train, of the zoo."""
    baselines: tuple[str, ...]
    """Those that have nothing to train; always on the leaderboard."""
    seeds: int
    """Trainings of each model that count."""
    rates: tuple[float, ...]
    """Learning rates that the first seed is tried with; validation decides which one counts."""
    folder: Path
    """Where results are kept: `VIDPRED_HOME/leaderboard`."""
    jobs: int = 1
    """Processes."""
    tuned: Tuned | None = None
    """What a sweep found, as one more row."""

    @property
    def threads(self) -> int:
        """Threads of one training."""
        return self.params.resources.threads or max(1, cores() // self.jobs)

    def train(self, *, seed: int, rate: float, tuned: bool = False) -> TrainParams:
        """`train` of one training, which begins at random; `tuned`: with what the sweep chose."""
        own = self.tuned.train if tuned and self.tuned else {}
        changes: dict[str, Any] = {"model": None, "config": {}, "init": None, "seed": seed, "learning_rate": rate}
        return self.params.train.changed(own | changes)

    def config(self, *, tuned: bool) -> dict[str, Any]:
        """The config of one training: the default, or what the sweep chose."""
        return dict(self.tuned.config) if tuned and self.tuned else {}

    @property
    def tuned_rates(self) -> tuple[float, ...]:
        """Learning rates of the tuned row: its own, else those of all."""
        rate = self.tuned.rate if self.tuned else None
        return self.rates if rate is None else (rate,)

    @property
    def references(self) -> tuple[str, str]:
        """What gains are told over: the task's own baseline, and the best that can be had without training."""
        return BASELINES[self.params.task.kind][-1], "flow_gate"

    @property
    def classify(self) -> bool:
        """Whether its models tell classes."""
        return self.params.task.kind == "classify"

    @property
    def figure(self) -> str:
        """By which a learning rate is chosen on validation: the smaller the better."""
        return "val_cross_entropy" if self.classify else "val_perceptual_distance"

    @property
    def budget(self) -> str:
        """In words."""
        minutes = self.params.train.minutes
        if minutes is not None:
            return f"{minutes:g} minute{'s' * (minutes != 1)}"
        return f"{self.params.train.steps:,} steps of {self.params.train.batch_size} windows"


def make_plan(
    root: Path,
    *,
    models: Sequence[str] = (),
    seeds: int = 3,
    rates: Sequence[float] = RATES,
    steps: int | None = None,
    minutes: float | None = None,
    jobs: int | None = None,
    tuned: Path | None = None,
) -> Plan:
    """The plan of a project.

    Args:
        root: Of the project.
        models: Of the zoo; empty: all that have something to train.
        seeds: Trainings of each model that count.
        rates: Learning rates to try.
        steps: Budget of one training; None: that of params.yaml.
        minutes: The budget in minutes instead.
        jobs: Processes; None: one a core, or one where a GPU is used.
        tuned: The best.yaml of a sweep, for one more row.

    Raises:
        UserError: there is no data, no model of that name, an impossible value, or no best.yaml.
    """
    for path in (root / "data/shards/meta.json", root / "data/split/split.parquet"):
        if not path.is_file():
            raise UserError(
                f"{path.relative_to(root)} is not there, and a leaderboard needs data: run `dvc repro split`"
            )
    if steps is not None and minutes is not None:
        raise UserError("--steps and --minutes are both given: a budget is one of them")
    if len(set(rates)) < len(rates) or not rates:
        raise UserError(f"--rates {','.join(map(str, rates))}: give at least one, and none of them twice")
    params = load_params(root / "params.yaml")
    kind = params.task.kind
    changes: dict[str, Any] = {"model": None, "config": {}}
    changes |= {} if steps is None else {"steps": steps, "minutes": None}
    changes |= {} if minutes is None else {"minutes": minutes}
    try:
        for rate in rates:
            TrainParams.model_validate(params.train.model_dump() | changes | {"learning_rate": rate})
        params = Params.model_validate(
            params.model_dump(by_alias=True) | {"train": params.train.model_dump() | changes}
        )
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"{problem['loc'][-1]} {problem['input']}: {problem['msg']}") from None
    for name in models:
        zoo.module(name, kind)  # a misspelt one gets the nearest right one
    trained = {name: zoo.is_trained(name, kind) for name in zoo.names(kind)}
    untrained = [name for name in trained if not trained[name]]
    return Plan(
        shards=(root / "data/shards").resolve(),
        split=(root / "data/split").resolve(),
        by_time=_by_time(root, params),
        params=params,
        models=tuple(name for name in dict.fromkeys(models or trained) if trained[name]),
        baselines=BASELINES[kind] if kind == "classify" else tuple(_baselines(untrained, _task(root, params), kind)),
        seeds=seeds,
        rates=tuple(rates),
        folder=home(root) / "leaderboard",
        jobs=jobs or _side_by_side(params),
        tuned=None
        if tuned is None
        else read_tuned(tuned, params, _task(root, params), equal_steps=params.train.minutes is None),
    )


def _baselines(untrained: Sequence[str], task: Task, kind: str) -> Iterator[str]:
    """Those that can do the task, without those that are meant for another one."""
    others = {name for names in BASELINES.values() for name in names} - set(BASELINES[kind])
    for name in untrained:
        with suppress(UserError):
            zoo.build(name, {}, task)
            if name not in others:
                yield name


def _task(root: Path, params: Params) -> Task:
    task, size = params.task, params.transcode
    if task.kind == "classify":
        from vidpred.data.clips import task_of
        from vidpred.data.shards import Shards

        return task_of(Shards(root / "data/shards"), task, root / "data/split")  # which knows the classes
    return Task(task.context, task.horizon, size.height, size.width, interval=task.interval, kind=task.kind)


def _by_time(root: Path, params: Params) -> bool:
    """How the data was split in the end, which may be otherwise than asked for."""
    summary = root / "results/split/summary.json"
    kind = json.loads(summary.read_text())["kind"] if summary.is_file() else params.split.kind
    return bool(kind == "time")


def _side_by_side(params: Params) -> int:
    from vidpred.training.device import choose_device

    return cores() if choose_device(params.resources.device).type == "cpu" else 1
