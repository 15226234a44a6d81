"""The data of a leaderboard, opened once a process, and its frozen list of test windows.

In: a plan. Out: a `Bench`. The same data, split and task give the same list, in the same order, under the same id.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from vidpred.data.clips import evaluation_windows, evenly
from vidpred.data.shards import Shards
from vidpred.data.split import read_groups, read_split
from vidpred.errors import UserError
from vidpred.leaderboard.plan import Plan
from vidpred.training.data import Data, read_data
from vidpred.training.device import choose_device
from vidpred.types import Segment, Window
from vidpred.workspace import digest

AHEAD = 5
"""Steps that the pictures look ahead, where clips have room: blur grows from step to step."""


@dataclass(frozen=True)
class FrozenList:
    """What every model of the leaderboard is judged on."""

    id: str
    """12 hex digits over the data, the task, all windows and the groups that they are of."""
    windows: tuple[Window, ...]
    """Of the test part; all figures are of these."""
    shown: tuple[Window, ...]
    """Of the test part, with room for `ahead` frames: the pictures are of these."""
    ahead: int
    """Frames that are predicted for the pictures."""
    groups: list[str] | None
    """Of each clip, near-duplicates joined: what intervals draw; None: the clips' own."""


class Bench:
    """Shards, parts and task of a plan, opened.

    Raises:
        UserError: shards or split are missing or damaged, or no test clip is long enough.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.data: Data = read_data(plan.shards, plan.split, plan.params)
        self.device = choose_device(plan.params.resources.device)
        self.list = freeze(self.data.shards, read_split(plan.split, "test"), plan, read_groups(plan.split))
        self.training_id = digest([asdict(s) for s in self.data.train] + [asdict(w) for w in self.data.val])
        """Of the stretches that train and the windows that choose."""

    @property
    def flow_id(self) -> str:
        """Which flow models are trained on: the stored one, or what is computed from each window."""
        note = None if self.data.flow_folder is None else self.data.flow_folder / "flow.json"
        return digest([self.data.flow.model_dump(), note.read_text() if note and note.is_file() else ""])


def freeze(shards: Shards, test: list[Segment], plan: Plan, groups: list[str] | None = None) -> FrozenList:
    """The list of a test part.

    Raises:
        UserError: no clip holds a window.
    """
    task, judged = plan.params.task, plan.params.evaluate
    windows = evaluation_windows(test, task=task, per_clip=judged.windows_per_clip, step=judged.window_step)
    if not windows:
        raise UserError(f"no test clip holds a window of {task.span} frames: add clips or shorten task.context")
    ahead, shown = _shown(shards, test, plan)
    told = {
        "data": shards.data_id,
        "task": task.model_dump(),
        "windows": [asdict(w) for w in windows],
        "groups": groups,
        "crop": judged.crop,
        "shown": [[asdict(w) for w in shown], ahead],
    }
    return FrozenList(digest(told)[:12], tuple(windows), tuple(shown), ahead, groups)


def _shown(shards: Shards, test: list[Segment], plan: Plan) -> tuple[int, list[Window]]:
    """Windows for the pictures: one a clip, of the livelier half of the clips; on still ones all models look alike."""
    task = plan.params.task
    if plan.classify:
        return 0, []
    ahead = task.horizon if task.kind == "interpolate" else max(AHEAD, task.horizon)
    found = evaluation_windows(test, task=task, per_clip=1, frames=task.context + ahead)
    while len(found) < plan.params.evaluate.pictures and ahead > task.horizon:
        ahead -= 1
        found = evaluation_windows(test, task=task, per_clip=1, frames=task.context + ahead)
    motion = np.array([shards.clips[w.clip].motion for w in found])
    lively = [w for w, m in zip(found, motion, strict=True) if m >= np.median(motion)]
    return ahead, evenly(lively, plan.params.evaluate.pictures)
