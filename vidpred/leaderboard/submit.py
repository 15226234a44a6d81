"""A model of anybody's on the leaderboard: judged on the frozen list like all others, trained by nobody here.

In: a model folder or a URI of the registry. Out: its row, and the page written anew.
"""

from __future__ import annotations

import logging
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vidpred.errors import UserError
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.board import Board, list_folder, read_board, write_board
from vidpred.leaderboard.contest import Entry, Member
from vidpred.leaderboard.scores import Judgement, judge
from vidpred.models.files import load_model, task_from
from vidpred.tracking import opening
from vidpred.tracking.download import download
from vidpred.types import Classifier, Predictor
from vidpred.workspace import locked, write_json

log = logging.getLogger(__name__)


def submit(bench: Bench, model: str, out: Path, *, name: str | None = None) -> tuple[Board, str]:
    """Judges a model, keeps its row and writes the page anew; a row of the same name is replaced.

    Args:
        bench: With the list; its leaderboard has been held.
        model: `models:/name@alias`, `models:/name/3`, `runs:/…`, or a model folder.
        out: Folder of the page.
        name: Of the row; None: that of the registry or the folder.

    Returns:
        The leaderboard, and the name of the row.

    Raises:
        UserError: there is no leaderboard yet, no such model, it is for another task, or its name is taken.
    """
    held, _ = read_board(bench)
    folder = download(model)
    with opening.called(model, folder):
        info = load_model(folder, Classifier if bench.plan.classify else Predictor)[1]
    refuse_foreign(info, bench, model)
    called = name or _called(model)
    taken = {entry.name for entry in held}
    if called in taken:
        raise UserError(f"{called} is a row of the leaderboard itself: give this model another --name")
    with locked(list_folder(bench)):
        log.info("judging %s on %d test windows", called, len(bench.list.windows))
        found = judge(bench, Judgement(called, folder=str(folder), again=True))
        steps = info.get("training", {}).get("steps")
        entry = Entry(
            name=called,
            kind="submitted",
            model=info["name"],
            members=[Member(0, found["score"], found["weights_sha256"], steps=steps)],
            note=_provenance(info, bench, model),
        )
        file_name = re.sub(r"[^\w.@-]", "_", called)
        write_json(list_folder(bench) / "submitted" / f"{file_name}.json", entry.told())
        return write_board(bench, out), called


def refuse_foreign(info: dict[str, Any], bench: Bench, model: str) -> None:
    """Whether a model does what the list asks for.

    Raises:
        UserError: it does not; says how they differ.
    """
    theirs, ours = asdict(task_from(info["task"])), asdict(bench.data.task)
    differs = [f"{field} {theirs[field]} instead of {ours[field]}" for field in ours if theirs[field] != ours[field]]
    if differs:
        raise UserError(
            f"{model} is for another task than this leaderboard: {', '.join(differs)}; submit it where its data is"
        )


def _called(model: str) -> str:
    if model.startswith("models:/"):
        return model.removeprefix("models:/")
    if re.match(r"^\w+:/", model):
        return model
    path = Path(model)
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


def _provenance(info: dict[str, Any], bench: Bench, model: str) -> str:
    """Where the weights come from, as far as they tell."""
    data = info.get("data_id")
    same = "this data" if data == bench.data.shards.data_id else "other data" if data else "data that it does not name"
    return (
        f"submitted from {model} ({info['name']}, weights {str(info['weights_sha256'])[:12]}), trained on {same}; "
        "that it has not seen the test clips is its owner's word."
    )
