"""`vidpred sync`: sends to MLflow what it lacks of the work on disk, and ends runs that nobody works on any more.

What is on disk is the truth: the records of sweeps, rows of `metrics.jsonl`, a note of each run (`run.json`), which
names the files that were not sent. Sent twice it is there once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from vidpred.errors import UserError
from vidpred.tracking import store
from vidpred.tracking.runs import Tracker
from vidpred.tracking.trials import SweepRuns
from vidpred.tuning.driver import read_state
from vidpred.tuning.lease import Refused, held
from vidpred.tuning.ledger import Ledger
from vidpred.tuning.sweep import tell_result
from vidpred.workspace import content_id, home, in_use, write_json


def sync() -> int:
    """Sends all sweeps and trainings of `VIDPRED_HOME`, the older first; the exit code.

    Raises:
        StoreError: MLflow is away.
    """
    folder, console = home(), Console(highlight=False)

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    store.connect()  # says once, and at once, that it is away
    notes = [*folder.glob("tune/*/run.json"), *folder.glob("train/*/run.json")]
    code = 0
    for note in sorted(notes, key=lambda path: path.stat().st_mtime):
        stage = note.parent.parent.name
        try:
            say(f"{stage}/{note.parent.name}: {SENDERS[stage](note)}")
        except store.StoreError:
            raise
        except UserError as error:  # the others can be sent all the same
            say(f"{stage}/{note.parent.name}: not sent: {error}")
            code = 1
    if not notes:
        say(f"nothing to send in {folder}: `dvc repro` makes something")
    return code


def _sweep(note: Path) -> str:
    folder = note.parent
    try:
        with held(folder) as lease:
            ledger = Ledger(folder, permit=lease.check, mend=True)
            runs = SweepRuns(_run_of(note), folder.name, partial(read_state, folder, alive=False))
            for number in ledger.entries:
                runs.send(number)
            runs.tidy()
            tell_result(folder, runs.parent)
            _close(runs.parent, note)
    except Refused:
        return "it is being run, and sent by the process that runs it"
    return f"{len(ledger.entries)} trials are there"


def _training(note: Path) -> str:
    if in_use(note.parent):
        return "it is being trained, and sent by the process that trains it"
    run, told = _run_of(note), _read(note)
    run.mirror(note.parent / "metrics.jsonl")
    gone = []
    for file in told.get("files", []):
        path = Path(file["path"])
        if path.exists() and content_id(path) == file["content"]:
            run.artifact(path, file["folder"])
        else:
            gone.append(path.as_posix())
    _close(run, note)
    if not gone:
        write_json(note, told | {"files": []})
        return "it is there"
    return f"it is there, but for {', '.join(gone)}, which is another one now: `dvc checkout` of its commit, then sync"


SENDERS: dict[str, Callable[[Path], str]] = {"tune": _sweep, "train": _training}


def _close(run: Tracker, note: Path) -> None:
    """As the process did that worked on it; one that never came to that was killed."""
    told = _read(note)
    if told["failure"]:
        run.fail(told["failure"])
    if not run.close("KILLED" if told["status"] == "RUNNING" else told["status"]):
        raise store.StoreError("MLflow has stopped answering: run `vidpred sync` again")


def _run_of(note: Path) -> Tracker:
    told = _read(note)
    return Tracker(
        stage=told["stage"], key=told["key"], params=told["params"], tags=told["tags"], parent=None, required=True
    )


def _read(note: Path) -> dict[str, Any]:
    try:
        told = json.loads(note.read_text())
        if {"stage", "key", "params", "tags", "status", "failure"} <= set(told):
            return dict(told)
    except (ValueError, TypeError):
        pass
    raise UserError(f"{note} is damaged: delete it; the next run of the stage writes it anew")
