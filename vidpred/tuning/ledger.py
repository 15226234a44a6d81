"""What is on record of a sweep: the truth that a search goes on from, and that tables and MLflow mirror.

A folder: `sweep.json` (what was used up, and whether points ran out) and for each trial `trials/<number>/` with
`trial.json` (its point, how it stands, where it ran, its last checkpoint), `metrics.jsonl` (a line a report) and, where
it failed, `error.txt` (the traceback). Files
are replaced or appended to, never edited, so a process that is killed leaves at worst a last line that is cut short,
which is mended. A step is written once: a trial that goes on from a checkpoint repeats steps, and the first counts.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vidpred.cluster.contract import ENDED, Figures, PastTrial, Point, Spent, Status
from vidpred.errors import UserError
from vidpred.workspace import write_json


@dataclass
class Entry:
    """`trial.json`: one trial."""

    number: int
    point: dict[str, Any]
    """As it is now; population-based training changes it."""
    status: Status = "running"
    reason: str = ""
    """Of a failed or stopped trial, in one line."""
    step: int = 0
    """Last one reported."""
    node: str = ""
    """Address and id of the machine that reported last."""
    cpus: float = 0
    gpus: float = 0
    """Set aside for the trial in all."""
    started: float = 0
    """Seconds since 1970."""
    ended: float | None = None
    seconds: float = 0
    """Computed so far, over all starts."""
    restarts: int = 0
    """Times that it was started again after it, its machine or the sweep broke."""
    checkpoint: str | None = None
    """Path or URI of the last one."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """By population-based training: {"step", "taken_from", "before", "point"}."""


class Ledger:
    """The record of one sweep, read when it is opened; one process writes it, others may read.

    Args:
        folder: Of the sweep.
        permit: Called before anything is written; raises where this process may not write (any more).
        mend: Cut off the ends of lines that a killed process left; for the one who writes.

    Raises:
        UserError: a file is not what a sweep writes.
    """

    def __init__(self, folder: Path, *, permit: Callable[[], None] = lambda: None, mend: bool = False) -> None:
        self.folder = folder
        self.spent, self.exhausted = Spent(), False
        self.entries: dict[int, Entry] = {}
        self._steps: dict[int, set[int]] = {}
        self._permit = permit
        if (sweep := folder / "sweep.json").is_file():
            noted = _read(sweep)
            self.spent, self.exhausted = Spent(**noted["spent"]), noted["exhausted"]
        for path in folder.glob("trials/*/trial.json"):
            entry = read_entry(path)
            self.entries[entry.number] = entry
        self.entries = dict(sorted(self.entries.items()))
        for number, entry in self.entries.items():
            if mend:
                _mend(self._metrics(number))
            self._steps[number] = {int(row["step"]) for row in self.rows(number)}
            entry.step = max(self._steps[number], default=0)

    # ---- reading

    def trial_folder(self, number: int) -> Path:
        """Where a trial's files are."""
        return self.folder / "trials" / str(number)

    def rows(self, number: int) -> list[dict[str, Any]]:
        """The reports of a trial, in the order in which they came."""
        return read_rows(self._metrics(number))

    def past(self, limit: int | None = None) -> list[PastTrial]:
        """What a search goes on from: the trials below a number; None: all."""
        return [
            PastTrial(
                number=number,
                point=entry.point,
                status=entry.status,
                reports=sorted(self.rows(number), key=lambda row: int(row["step"])),
                checkpoint=entry.checkpoint,
                changes=entry.changes,
            )
            for number, entry in self.entries.items()
            if limit is None or number < limit
        ]

    def pending(self, limit: int | None = None) -> list[int]:
        """Trials that are to go on."""
        return [n for n, e in self.entries.items() if e.status not in ENDED and (limit is None or n < limit)]

    def count_below(self, limit: int) -> int:
        """How many trials there are with a number below."""
        return sum(number < limit for number in self.entries)

    # ---- writing

    def started(self, number: int, point: Point, resources: Mapping[str, float]) -> Entry:
        """A trial is in a worker, for the first time or again."""
        entry = self.entries.get(number)
        if entry is None:
            entry = self.entries[number] = Entry(number, dict(point), started=time.time())
            self._steps[number] = set()
        elif entry.status == "interrupted":
            entry.restarts += 1
        entry.point = dict(point)
        entry.status, entry.reason, entry.ended = "running", "", None
        entry.cpus, entry.gpus = float(resources.get("CPU", 0)), float(resources.get("GPU", 0))
        self._write(entry)
        return entry

    def broke(self, number: int, reason: str) -> Entry:
        """A trial is to be started again."""
        entry = self.entries[number]
        entry.restarts += 1
        entry.reason = reason
        self._write(entry)
        return entry

    def reported(self, number: int, figures: Figures, checkpoint: str | None) -> bool:
        """Notes a report; whether it was new.

        The row is written before the checkpoint is noted: a step whose checkpoint is known is never missing.
        """
        entry, step = self.entries[number], int(figures["step"])
        new = step not in self._steps[number]
        if new:
            self._permit()
            row = {"step": step, "time": round(time.time(), 3)} | {
                name: _plain(value) for name, value in figures.items() if name != "step"
            }
            with self._metrics(number).open("a") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
            self._steps[number].add(step)
        entry.step = step
        entry.seconds = max(entry.seconds, float(figures.get("seconds", 0)))
        where = (figures.get("node_ip"), str(figures.get("node_id") or "")[:8])
        entry.node = " ".join(str(part) for part in where if part) or entry.node
        entry.checkpoint = checkpoint or entry.checkpoint
        self._write(entry)
        return new

    def changed(self, number: int, point: Point, *, taken_from: int, step: int, checkpoint: str | None) -> Entry:
        """Population-based training has given a trial another's weights and another point."""
        entry = self.entries[number]
        entry.changes.append(
            {"step": step, "taken_from": taken_from, "before": dict(entry.point), "point": dict(point)}
        )
        entry.point = dict(point)
        entry.checkpoint = checkpoint or entry.checkpoint
        self._write(entry)
        return entry

    def ended(
        self, number: int, status: Status, reason: str = "", *, traceback: str = "", at: float | None = None
    ) -> Entry:
        """A trial has ended, or is broken off for now; `at`: in seconds since 1970, instead of now."""
        entry = self.entries[number]
        entry.status, entry.reason, entry.ended = status, reason, at or time.time()
        self._write(entry)
        if traceback:
            (self.trial_folder(number) / "error.txt").write_text(traceback)
        return entry

    def broken_off(self) -> list[int]:
        """Trials that run on record only, since whoever ran them is gone, are interrupted; their numbers."""
        left = [n for n, e in self.entries.items() if e.status == "running"]
        for number in left:
            last = (self.trial_folder(number) / "trial.json").stat().st_mtime
            self.ended(number, "interrupted", "the sweep was broken off", at=last)
        return left

    def retry_failed(self) -> list[int]:
        """Failed trials go on from their last checkpoint when the search does; their numbers."""
        failed = [n for n, e in self.entries.items() if e.status == "failed"]
        for number in failed:
            self.ended(number, "interrupted", "to be tried again")
        return failed

    def note(self, *, spent: Spent | None = None, exhausted: bool | None = None) -> None:
        """Notes what was used up, and whether there are no more points."""
        self.spent = spent or self.spent
        self.exhausted = self.exhausted if exhausted is None else exhausted
        self._permit()
        write_json(self.folder / "sweep.json", {"spent": asdict(self.spent), "exhausted": self.exhausted})

    def _metrics(self, number: int) -> Path:
        return self.trial_folder(number) / "metrics.jsonl"

    def _write(self, entry: Entry) -> None:
        self._permit()
        write_json(self.trial_folder(entry.number) / "trial.json", asdict(entry))


def read_entry(path: Path) -> Entry:
    """A `trial.json`.

    Raises:
        UserError: it is none.
    """
    known = {one.name for one in fields(Entry)}
    try:
        return Entry(**{name: value for name, value in _read(path).items() if name in known})
    except TypeError as error:
        raise _damaged(path, error) from None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics.jsonl; a last line that was cut short is not one, and neither is a missing file's."""
    rows = []
    for line in path.read_text().splitlines(keepends=True) if path.is_file() else []:
        if not line.endswith("\n"):  # being written, or cut short
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise _damaged(path, error) from None
    return rows


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise _damaged(path, error) from None
    if not isinstance(found, dict):
        raise _damaged(path, TypeError("not an object"))
    return found


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged ({error}): delete the folder {path.parent} to have that part done again")


def _mend(path: Path) -> None:
    """Cuts off what stands after the last end of a line."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(file.fileno(), whole)


def _plain(value: Any) -> Any:
    """As JSON has it: numbers of other libraries as Python's, what is not finite as null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
