"""What is looked into: a classifier, and windows of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidpred.config import TaskParams
from vidpred.data.clips import evaluation_windows
from vidpred.data.shards import Shards
from vidpred.data.split import read_split
from vidpred.errors import UserError
from vidpred.models.files import task_from
from vidpred.types import Classifier, Task

_FPS = 8.0
"""Where model.json does not tell."""


@dataclass(frozen=True)
class Subject:
    """A classifier that is looked into."""

    model: Classifier
    """On the device where to compute, in eval mode."""
    info: Mapping[str, Any]
    """Its model.json."""

    @property
    def task(self) -> Task:
        """What it was trained for."""
        return task_from(self.info["task"])

    @property
    def fps(self) -> float:
        """At which its windows are shown: their frames are an interval apart."""
        return float(self.info.get("fps") or _FPS) / self.task.interval

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next((weight.device for weight in self.model.parameters()), torch.device("cpu"))


@dataclass(frozen=True)
class Shown:
    """A window of a clip."""

    name: str
    """That people know it by."""
    frames: np.ndarray
    """uint8 (T, H, W, 3), T the model's context, `interval` apart."""
    label: str = ""
    """The class that it is of, where that is known."""


def middle_window(frames: np.ndarray, task: Task, name: str) -> Shown:
    """The window in the middle of a clip.

    Args:
        frames: uint8 (T, H, W, 3), at the model's size and rate.
        task: The model's.
        name: Of the clip.

    Raises:
        UserError: the clip is too short.
    """
    span = (task.context - 1) * task.interval + 1
    if len(frames) < span:
        raise UserError(f"{name}: {len(frames)} frames, and the model looks at {span}: give a longer clip")
    first = (len(frames) - span) // 2
    return Shown(name, frames[first : first + span : task.interval])


def numbers_of(task: Task, names: Sequence[str]) -> list[int]:
    """Places of classes by their names; all of them, where none is named.

    Raises:
        UserError: there is no such class.
    """
    for name in names:
        if name not in task.classes:
            raise UserError(f"no class is called {name!r}: there are {', '.join(task.classes[:50])}")
    return [task.classes.index(name) for name in names] or list(range(len(task.classes)))


def of_test(shards_folder: Path, split: Path, task: Task, asked: TaskParams, *, most: int) -> list[Shown]:
    """The first test window of each class, of so many classes at the most.

    Args:
        shards_folder: Where frames are.
        split: Which clips are for the test.
        task: The model's: its classes, in this order.
        asked: `task` of params.yaml.
        most: Windows.

    Raises:
        UserError: as `Shards` and `read_split`.
    """
    shards = Shards(shards_folder)
    found: dict[str, Shown] = {}
    for window in evaluation_windows(read_split(split, "test"), task=asked, per_clip=1):
        clip = shards.clips[window.clip]
        if clip.label in task.classes and clip.label not in found:
            frames = shards.frames(window.clip, window.start, task.context, task.interval)
            found[clip.label] = Shown(clip.source, np.array(frames), clip.label)
    return [found[name] for name in task.classes if name in found][:most]
