"""The leaderboard as a whole: held, kept for submissions, and written as Markdown, CSV, HTML and to MLflow.

In: a plan. Out: `leaderboard.md`, `.csv`, `.html` and `.json` (what was asked for), and a run in MLflow with one below
it for each row.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidpred.errors import UserError
from vidpred.leaderboard import classes, page, write
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.classes import ClassRow, ClassStanding
from vidpred.leaderboard.contest import Entry, hold
from vidpred.leaderboard.pictures import shown_clips
from vidpred.leaderboard.plan import Plan
from vidpred.leaderboard.table import PD, Row, Standing, entry_scores, flat, make_rows
from vidpred.tracking.runs import Tracker
from vidpred.workspace import atomic, digest, locked, write_json

log = logging.getLogger(__name__)

STATE = "board.json"
"""What a leaderboard rests on, in the folder of its list: submissions write the page anew from it."""


@dataclass(frozen=True)
class Board:
    """What was written."""

    standing: Standing | ClassStanding
    facts: dict[str, Any]
    paths: list[Path]
    """The files, the page last."""


def make_board(plan: Plan, out: Path, *, command: str, tick: Callable[[], None] = lambda: None) -> Board:
    """Trains, judges and writes; what has been done before is read.

    Args:
        plan: What is asked for.
        out: Folder for the files.
        command: That people would type for the same, for the page.
        tick: Called for each job that is done.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM.
        UserError: as `Bench` and `contest.hold`.
    """
    bench = Bench(plan)
    folder = list_folder(bench)
    with locked(folder):
        entries = hold(plan, tick=tick)
        facts = facts_of(bench, command)
        write_json(folder / STATE, {"facts": facts, "entries": [entry.told() for entry in entries]})
        return write_board(bench, out)


def list_folder(bench: Bench) -> Path:
    """Where the state of a list's leaderboard is kept."""
    return bench.plan.folder / "lists" / bench.list.id


def read_board(bench: Bench) -> tuple[list[Entry], dict[str, Any]]:
    """Entries and facts of the leaderboard of this list, as they were last held; submissions are not among them.

    Raises:
        UserError: there is none.
    """
    path = list_folder(bench) / STATE
    try:
        state = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"there is no leaderboard for these test windows (list {bench.list.id}) yet: run `vidpred leaderboard`"
        ) from None
    return [Entry.read(raw) for raw in state["entries"]], state["facts"]


def submissions(bench: Bench) -> list[Entry]:
    """What was submitted to this list, by name."""
    found = sorted((list_folder(bench) / "submitted").glob("*.json"))
    return [Entry.read(json.loads(path.read_text())) for path in found]


def facts_of(bench: Bench, command: str) -> dict[str, Any]:
    """What the page tells beside its rows."""
    plan, task = bench.plan, bench.data.task
    return {
        "title": plan.params.report.title,
        "windows": len(bench.list.windows),
        "by_time": plan.by_time,
        "context": task.context,
        "between": task.between,
        "horizon": task.horizon,
        "classes": len(task.classes),
        "height": task.height,
        "width": task.width,
        "budget": plan.budget,
        "seeds": plan.seeds,
        "rates": [f"{rate:g}" for rate in plan.rates],
        "jobs": plan.jobs,
        "threads": plan.threads,
        "list_id": bench.list.id,
        "data_id": bench.data.shards.data_id,
        "device": str(bench.device),
        "command": command,
        "tuned": None if plan.tuned is None else asdict(plan.tuned) | {"rate": plan.tuned.rate},
    }


def write_board(bench: Bench, out: Path) -> Board:
    """Writes the files from what is kept, and sends them to MLflow; trains nothing.

    Raises:
        UserError: there is no leaderboard of this list, or its scores are gone.
    """
    held, facts = read_board(bench)
    entries = [*held, *submissions(bench)]
    if bench.plan.classify:
        return _write_classes(bench, entries, facts, out)
    try:
        standing = make_rows(entries, bench.plan.folder, references=bench.plan.references, by_time=bench.plan.by_time)
        scores = {entry.name: entry_scores(entry, bench.plan.folder) for entry in entries if entry.members}
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is gone: run `vidpred leaderboard` again") from None
    clips = shown_clips(bench, {row.name: scores[row.name][0].shown for row in standing.rows if row.means})
    texts = {
        "leaderboard.md": write.markdown(standing, facts),
        "leaderboard.csv": write.csv(standing),
        "leaderboard.html": page.render(standing, clips, facts),
        "leaderboard.json": json.dumps(facts, indent=2) + "\n",
    }
    paths = _put(texts, out)
    rows = [(row, flat(row, standing.references)) for row in standing.rows]
    _track(rows, PD, facts, paths)
    return Board(standing, facts, paths)


def _write_classes(bench: Bench, entries: Sequence[Entry], facts: dict[str, Any], out: Path) -> Board:
    try:
        standing = classes.make_class_rows(entries, bench.plan.folder, bar=bench.plan.references[0])
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is gone: run `vidpred leaderboard` again") from None
    texts = {
        "leaderboard.md": classes.markdown(standing, facts),
        "leaderboard.csv": classes.csv(standing),
        "leaderboard.json": json.dumps(facts, indent=2) + "\n",
        "leaderboard.html": classes.render(standing, facts),
    }
    paths = _put(texts, out)
    _track([(row, classes.flat(row)) for row in standing.rows], classes.TOP1, facts, paths)
    return Board(standing, facts, paths)


def _put(texts: Mapping[str, str], out: Path) -> list[Path]:
    paths = [out / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with atomic(path) as part:
            part.write_text(text, encoding="utf-8")
    return paths


def _track(
    rows: Sequence[tuple[Row | ClassRow, dict[str, Any]]], metric: str, facts: Mapping[str, Any], paths: Sequence[Path]
) -> None:
    """One run for the leaderboard, and one below it for each row; found again where they are there already."""
    asked = [facts[name] for name in ("list_id", "budget", "seeds", "rates")]
    key = digest([*asked, facts["tuned"]] if facts.get("tuned") else asked)[:16]
    told = {name: facts[name] for name in ("budget", "seeds", "rates", "list_id", "windows")}
    tags = {"data_id": str(facts["data_id"])}
    with Tracker.open(stage="leaderboard", key=key, params=told, tags=tags) as run:
        run.figures({f"{_plain(row.name)}/{metric}": row.means[metric] for row, _ in rows if row.means})
        for path in paths:
            run.artifact(path)
        for row, told_of in rows:
            params = {"model": row.model, "name": row.name, "kind": row.kind, "learning_rate": row.rate}
            below = Tracker.open(
                stage="leaderboard-row", key=f"{key}-{row.name}", params=params, tags=tags, parent=run.run_id
            )
            with below as one:
                one.figures({name: value for name, value in told_of.items() if name not in params})
                if not row.means:
                    one.fail(row.error)


def _plain(name: str) -> str:
    """A name that MLflow takes in a metric's."""
    return re.sub(r"[^\w./ -]", "_", name)
