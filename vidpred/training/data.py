"""What a run reads: shards, the windows to train on and those to validate on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vidpred.config import FlowParams, Params
from vidpred.data.clips import evaluation_windows, evenly, task_of
from vidpred.data.labels import Labels, labels_of
from vidpred.data.shards import Shards
from vidpred.data.split import read_split
from vidpred.errors import UserError
from vidpred.types import Segment, Task, Window


@dataclass(frozen=True)
class Data:
    """Opened shards, and which of their frames are for what."""

    shards: Shards
    train: list[Segment]
    """Drawn from at random."""
    val: list[Window]
    """Always the same ones."""
    task: Task
    flow: FlowParams
    """How flow is computed, for models that need it."""
    flow_folder: Path | None = None
    """Where the stage `flow` keeps the flow of the shards, if it stores any; None: it is computed from each window."""
    labels: Labels | None = None
    """The classes, where the task asks for them."""


def read_data(shards_folder: Path, split: Path, params: Params) -> Data:
    """Opens the shards and the split. Flow is looked for in the folder `flow` beside the shards.

    Raises:
        UserError: as `Shards` and `read_split`; or no validation clip holds a window, as where the split is of a
            shorter task; or there are no classes where they are asked for, or augmentation would change them unseen.
    """
    shards = Shards(shards_folder)
    task = task_of(shards, params.task, split)
    windows = evaluation_windows(read_split(split, "val"), task=params.task)
    if not windows:
        raise UserError(
            f"no validation clip holds a window of {params.task.span} frames: run `dvc repro split` for this task, or "
            "lower task.context"
        )
    return Data(
        shards=shards,
        train=read_split(split, "train"),
        val=evenly(windows, params.train.val_windows),
        task=task,
        flow=params.flow,
        flow_folder=shards_folder.with_name("flow"),
        labels=labels_of(shards, task.classes, params.train.augment) if task.classes else None,
    )
