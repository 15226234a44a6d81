"""Changes that a model was trained to see through: mirrored, turned, played backwards, each with its class.

A model is right about training windows however they are turned (`train.augment` in its model.json); a found clip that
it is sure of in one position only shows a quirk of that model. So copies are turned as in training. A clip that stays
what it is when it is turned upside down cannot move down a little as well as left.

In: model.json and the classes. Out: changes that are drawn, and what they do to clips, flow and classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from vidpred.config import Augment, Turn
from vidpred.data.labels import tables_of
from vidpred.errors import UserError
from vidpred.types import Task

_ORDER: tuple[Turn, ...] = ("reverse", "transpose", "upside_down", "left_right")
"""In which they are done, as in training."""


@dataclass(frozen=True)
class Turned:
    """What is done to all moments of a copy alike."""

    done: frozenset[Turn]
    colours: tuple[int, ...] | None
    """Channels in their new order."""
    becomes: np.ndarray
    """int64 (classes,): the class that each is then."""

    def clip(self, frames: Tensor) -> Tensor:
        """Of (N, T, C, H, W), the same shape."""
        frames = self._placed(frames)
        return frames if self.colours is None else frames[:, :, list(self.colours)]

    def flow(self, fields: Tensor) -> Tensor:
        """Of (N, T, 2, H, W), x then y."""
        fields = self._placed(fields)
        if "transpose" in self.done:
            fields = fields.flip(2)
        across = -1.0 if "left_right" in self.done else 1.0
        down = -1.0 if "upside_down" in self.done else 1.0
        return fields * fields.new_tensor([across, down])[:, None, None]

    def _placed(self, fields: Tensor) -> Tensor:
        if "transpose" in self.done:
            fields = fields.transpose(-1, -2)
        axes = {"reverse": 1, "upside_down": -2, "left_right": -1}
        return fields.flip([axis for turn, axis in axes.items() if turn in self.done])


@dataclass(frozen=True)
class Turns:
    """Which changes there are."""

    classes: int
    tables: Mapping[Turn, np.ndarray] = field(default_factory=dict)
    """int64 (classes,) of each: the class that each becomes."""
    colours: bool = False
    """Whether channels change places."""

    @classmethod
    def of(cls, info: Mapping[str, Any], task: Task, *, flow: bool) -> Turns:
        """Those of a model's training; none where model.json does not tell. Flow leads back in time: with it nothing is
        played backwards."""
        try:
            augment = Augment.model_validate(info.get("params", {}).get("augment"))
            tables = tables_of(augment, task.classes)
        except (ValidationError, UserError):
            return cls(len(task.classes))
        leave_out = {"reverse"} if flow else set()
        if task.height != task.width:
            leave_out.add("transpose")
        kept = {turn: table for turn, table in tables.items() if turn not in leave_out}
        return cls(len(task.classes), kept, augment.colour and task.channels == 3)

    def draw(self, draw: torch.Generator) -> Turned:
        """Each with even odds."""
        tosses = torch.rand(len(_ORDER), generator=draw) < 0.5
        done = [turn for turn, toss in zip(_ORDER, tosses, strict=True) if toss and turn in self.tables]
        becomes = np.arange(self.classes)
        for turn in done:
            becomes = self.tables[turn][becomes]
        orders = list(permutations(range(3)))
        order = orders[int(torch.randint(len(orders), (), generator=draw))]
        return Turned(frozenset(done), order if self.colours else None, becomes)
