"""How a model does on a video of which training has seen nothing: each group in turn is left out, and judged.

In: the project's shards and split, params.yaml. Out: a row a window of all groups (of a classifier a row a video),
scored by models that never saw them. Each training has the budget of `train`, starts anew, and is validated on the ends
of its own clips, which `flow_gate` is fitted on too. What is done is kept in
`VIDPRED_HOME/leave_one_out/<key>/<group>`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from vidpred.config import Params
from vidpred.data.clips import evaluation_windows, evenly
from vidpred.data.split import leave_out, write_split
from vidpred.errors import UserError
from vidpred.evaluation.classes import MAJORITY, by_video, commonest_of, score_windows
from vidpred.evaluation.evaluate import fitted_flow_gate
from vidpred.evaluation.intervals import FLOOR, Gain, as_gain, paired_difference, paired_gain
from vidpred.evaluation.scoring import score_model
from vidpred.leaderboard.sources import code_digest
from vidpred.models import zoo
from vidpred.training.data import Data, read_data
from vidpred.training.device import choose_device
from vidpred.training.final import Choice, train_model
from vidpred.types import Classifier, Predictor, Segment
from vidpred.workspace import atomic, digest, locked

log = logging.getLogger(__name__)

REFERENCES = {"predict": ("copy_last", "flow_gate"), "classify": (MAJORITY,)}
"""What gains are told over, by the kind of task."""
FIGURES = {"predict": "perceptual_distance", "classify": "top1"}
"""What is compared."""
SCORES = "windows.parquet"
"""Written last: where it is, the group is judged."""


@dataclass(frozen=True)
class Rounds:
    """All that is to be done."""

    choice: Choice
    """What is trained."""
    data: Data
    """Of the project; train and val are of its own split."""
    params: Params
    clips: dict[str, list[int]]
    """Rows of the index, by the group that they were joined to."""
    folder: Path
    """Where results are kept, under a key over all that they depend on."""


def plan_rounds(root: Path, home: Path, choice: Choice, params: Params) -> Rounds:
    """What there is to leave out: the groups of the project's split, near-duplicates joined.

    Raises:
        UserError: there is no data, the task is to interpolate, or there are fewer than three groups.
    """
    kind = params.task.kind
    if kind not in REFERENCES:
        raise UserError(f"leave-one-out is for task.kind predict or classify, not {kind}")
    data = read_data(root / "data/shards", root / "data/split", params)
    clips: dict[str, list[int]] = {}
    for row in pq.read_table(root / "data/split/groups.parquet").to_pylist():
        if not row["reason"]:
            clips.setdefault(row["joined"], []).append(row["clip"])
    if len(clips) < 3:
        raise UserError(f"there are {len(clips)} groups, and one is left out: add clips, at least 3 groups are needed")
    parts = {
        "model": choice.model,
        "config": asdict(zoo.config_of(choice.model, choice.config, kind)),
        "train": choice.params.model_dump(),
        "task": asdict(data.task),
        "data": data.shards.data_id,
        "clips": clips,
        "split": params.split.model_dump(include={"val", "seed"}),
        "flow": params.flow.model_dump(),
        "evaluate": params.evaluate.model_dump(include={"windows_per_clip", "window_step", "crop"}),
        "code": code_digest(zoo.module(choice.model, kind).__name__, "vidpred.leaderboard.leave_one_out"),
    }
    return Rounds(choice, data, params, dict(sorted(clips.items())), home / "leave_one_out" / digest(parts)[:16])


def judge_group(rounds: Rounds, group: str, should_stop: Callable[[], bool]) -> pd.DataFrame:
    """Trains without a group and scores the windows of that group, or reads what was found.

    Returns:
        A row a window and model (`model`), as `score_model` gives it; of a classifier a row a video and model, as
        `by_video` does.

    Raises:
        Stopped: `should_stop` said so; a checkpoint is written.
        UserError: nothing is left to train or to judge by.
    """
    folder = rounds.folder / digest(group)[:12]
    with locked(folder):
        if not (folder / SCORES).is_file():
            found = _judged(rounds, group, folder, should_stop)
            with atomic(folder / SCORES) as part:
                found.to_parquet(part)
            shutil.rmtree(folder / "training")  # what its checkpoints were for is done
    return pd.read_parquet(folder / SCORES)


def _judged(rounds: Rounds, group: str, folder: Path, should_stop: Callable[[], bool]) -> pd.DataFrame:
    params, data = rounds.params, rounds.data
    parts = leave_out(data.shards.clips, rounds.clips, group, params.split, span=params.task.span)
    write_split(folder / "split", parts)
    validated = evaluation_windows(parts["val"], task=params.task)
    device = choose_device(params.resources.device)
    trainer = train_model(
        rounds.choice,
        replace(data, train=parts["train"], val=evenly(validated, params.train.val_windows)),
        folder=folder / "training",
        device=device,
        checkpoint_every=params.resources.checkpoint_every,
        should_stop=should_stop,
    )
    trained = trainer.best_model()
    judged = params.evaluate
    windows = evaluation_windows(
        parts["test"], task=params.task, per_clip=judged.windows_per_clip, step=judged.window_step
    )
    if isinstance(trained, Classifier):
        videos = by_video(
            score_windows(
                trained, data.shards, windows, task=data.task, flow=params.flow, batch_size=judged.batch_size,
                device=device,
            ),
            data.task.classes,
        )  # fmt: skip
        # of all clips: without those that are left out their class is rarer, and hardly ever what is said
        every = [Segment(row, 0, data.shards.clips[row].length) for rows in rounds.clips.values() for row in rows]
        common = commonest_of(data.shards, every, videos, data.task.classes)
        return pd.concat(
            [videos.assign(model=rounds.choice.model, group=group), common.assign(model=MAJORITY, group=group)],
            ignore_index=True,
        )
    if not isinstance(trained, Predictor):
        raise TypeError(f"{rounds.choice.model} predicts nothing")
    models: dict[str, Predictor] = {
        rounds.choice.model: trained,
        "copy_last": zoo.build("copy_last", {}, data.task).eval(),
        "flow_gate": fitted_flow_gate(data.shards, folder / "split", params, data.task),
    }
    tables = [
        score_model(
            model, data.shards, windows, task=data.task, flow=params.flow, crop=judged.crop,
            batch_size=judged.batch_size, device=device,
        ).assign(model=name, group=group)
        for name, model in models.items()
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def gains_of(tables: Sequence[pd.DataFrame], model: str, kind: str) -> dict[str, Gain]:
    """The gain of a model over each of `REFERENCES`: in PD over all windows of the groups that were left out, or in
    top-1 over all their videos."""
    rows, figure = pd.concat(tables, ignore_index=True), FIGURES[kind]

    def of(name: str) -> pd.DataFrame:
        return rows[rows["model"] == name].reset_index(drop=True)

    mine = of(model)
    if kind == "classify":
        return {
            name: as_gain(paired_difference(mine[figure], of(name)[figure], mine["group"])) for name in REFERENCES[kind]
        }
    return {
        name: paired_gain(mine[figure], of(name)[figure], mine["group"], blocks=mine["block"], floor=FLOOR)
        for name in REFERENCES[kind]
    }
