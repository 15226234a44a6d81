"""The best configuration of a sweep as a row of its own, beside the default rows and under what they all get.

In: the best.yaml that a sweep wrote. Out: a `Tuned`, checked: a model of the zoo, its config and its changes of
`train`, where they come from, and what of them is otherwise than by default.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from vidpred.config import Params, TrainField, TrainParams
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.tuning.results import read_best
from vidpred.tuning.space import check_train
from vidpred.types import Model, Task


@dataclass(frozen=True)
class Tuned:
    """What a sweep found."""

    name: str
    """Of the row: `warpmix (tuned)`."""
    model: str
    """Of the zoo."""
    config: dict[str, Any]
    """Fields of the model that the sweep chose."""
    train: dict[str, Any]
    """Fields of `train` that it chose, `loss.gdl` among them."""
    path: str
    """As it was given."""
    sweep: str
    """Key of the sweep; empty: no `summary.json` that tells of it lies beside the file."""
    differs: tuple[str, ...]
    """What is otherwise than by default, in words: `width 24 (16)`; without the learning rate, which is no row's
    default."""

    @property
    def rate(self) -> float | None:
        """Its own learning rate; None: those of all are tried."""
        return self.train.get("learning_rate")

    @property
    def note(self) -> str:
        """What a reader of its row has to know."""
        whose = f"sweep {self.sweep}" if self.sweep else "a sweep that left no summary beside it"
        rate = () if self.rate is None else (f"learning rate {self.rate:.3g}",)
        told = "; ".join([*self.differs, *rate])
        has = f"it has, in place of the default in brackets, {told}" if told else "it is the default"
        return f"the best of {whose} ({self.path}), chosen on validation; {has}."


def read_tuned(path: Path, params: Params, task: Task, *, equal_steps: bool) -> Tuned:
    """Reads and checks a best.yaml.

    Args:
        path: The file.
        params: What the default rows get; `train` holds the budget.
        task: What models are built for.
        equal_steps: Whether the budget is one of steps, which are equal only where batches are.

    Raises:
        UserError: it is none, it is impossible for this task, or its batches are larger or smaller than those of the
            other rows.
    """
    found = read_best(path)
    model, config, train = str(found["model"]), dict(found["config"]), dict(found["train"])
    where = f"--tuned {path} is impossible here"
    try:
        if not zoo.is_trained(model, task.kind):
            raise UserError(f"{model} has nothing to train")
        with torch.random.fork_rng(devices=[]):
            zoo.operations(zoo.build(model, config, task, Model), task)  # predicts once
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    changed = _changed(params.train, train, where=where)
    size = params.train.batch_size
    if equal_steps and changed.batch_size != size:
        raise UserError(
            f"--tuned {path} has batch_size {changed.batch_size}, and at equal steps it would see other numbers of "
            f"windows than the other rows with their {size}: give --minutes, or let batch_size not vary in tune.models"
        )
    return Tuned(
        name=f"{model} (tuned)",
        model=model,
        config=config,
        train=train,
        path=path.as_posix(),
        sweep=_sweep_of(path, model),
        differs=tuple(_differences(model, config, params.train, changed, kind=task.kind)),
    )


def _changed(train: TrainParams, changes: Mapping[str, Any], *, where: str) -> TrainParams:
    unknown = sorted(set(changes) - set(get_args(TrainField)))
    if unknown:
        raise UserError(f"{where}: train.{unknown[0]} is none that a sweep may vary")
    check_train(train, changes, where=where)
    return train.changed(changes)


def _sweep_of(path: Path, model: str) -> str:
    """The key in the summary that a sweep writes beside its best.yaml."""
    try:
        summary = json.loads((path.parent / "summary.json").read_text(encoding="utf-8"))
        return str(summary["sweep"]) if summary["best"]["model"] == model else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _differences(
    model: str, config: Mapping[str, Any], train: TrainParams, changed: TrainParams, *, kind: str
) -> Iterator[str]:
    usual, own = asdict(zoo.config_of(model, {}, kind)), asdict(zoo.config_of(model, config, kind))
    yield from (f"{name} {_told(own[name])} ({_told(usual[name])})" for name in own if own[name] != usual[name])
    before, after = _flat(train.model_dump()), _flat(changed.model_dump())
    for name in sorted({*before, *after} - {"learning_rate"}):
        if before.get(name, 0) != after.get(name, 0):  # a loss that is not there weighs nothing
            yield f"{name} {_told(after.get(name, 0))} ({_told(before.get(name, 0))})"


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`loss` and `augment` by dotted names."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        inner = value if name in ("loss", "augment") else None
        found |= {name: value} if inner is None else {f"{name}.{key}": one for key, one in inner.items()}
    return found


def _told(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
