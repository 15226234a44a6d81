"""The driver's ear: what the search tells goes to the record, and from there to MLflow and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vidpred.cluster.contract import Figures, Point, Spent, Status
from vidpred.tracking.background import Background
from vidpred.tracking.entries import flat, without_changed
from vidpred.tracking.trials import RunStatus, TrialState
from vidpred.tuning.ledger import Entry, Ledger, read_entry, read_rows
from vidpred.tuning.live import Board
from vidpred.tuning.results import FIGURES, OF_CLASSES

_STATUS: dict[Status, RunStatus] = {
    "running": "RUNNING",
    "interrupted": "KILLED",
    "finished": "FINISHED",
    "stopped": "FINISHED",
    "failed": "FAILED",
}
_KEPT = (*FIGURES, *OF_CLASSES.values(), "time", "seconds")
"""Of a report, for MLflow."""


class Driver:
    """A listener of the search: records first, then tells."""

    def __init__(self, ledger: Ledger, mirror: Background, board: Board) -> None:
        self._ledger, self._mirror, self._board = ledger, mirror, board

    def started(self, number: int, point: Point, *, resources: Mapping[str, float]) -> None:
        """A trial is in a worker."""
        self._ledger.started(number, point, resources)
        self._mirror.touch([number])

    def broke(self, number: int, reason: str) -> None:
        """It will be started again."""
        self._ledger.broke(number, reason)
        self._mirror.touch([number])

    def reported(self, number: int, figures: Figures, checkpoint: str | None) -> None:
        """Kept once, however often it is told."""
        if self._ledger.reported(number, figures, checkpoint):
            self._board.reported(number, figures)
            self._mirror.touch([number])

    def changed(self, number: int, point: Point, *, taken_from: int, step: int, checkpoint: str | None) -> None:
        """It has another point from now on."""
        self._ledger.changed(number, point, taken_from=taken_from, step=step, checkpoint=checkpoint)
        self._mirror.touch([number])

    def ended(self, number: int, status: Status, reason: str, traceback: str = "") -> None:
        """For good, or broken off."""
        self._ledger.ended(number, status, reason, traceback=traceback)
        self._board.ended(number)
        self._mirror.touch([number])

    def spent(self, spent: Spent) -> None:
        """Used up so far."""
        self._ledger.note(spent=spent)


def read_state(folder: Path, number: int, *, alive: bool = True) -> TrialState:
    """How a trial stands for MLflow, from its files: those of a sweep that is being written may be read.

    Args:
        folder: Of the sweep.
        number: Of the trial.
        alive: Whether a driver is at work; without one nothing runs, whatever the record says.
    """
    trial = folder / "trials" / str(number)
    entry, rows = read_entry(trial / "trial.json"), read_rows(trial / "metrics.jsonl")
    first = entry.changes[0]["before"] if entry.changes else entry.point
    _, changed = without_changed(flat(entry.point), flat(first))
    status = entry.status if alive or entry.status != "running" else "interrupted"
    return TrialState(
        number=number,
        name=f"{entry.point['model']}-{number}",
        params=first,
        status=_STATUS[status],
        failure=entry.reason if status == "failed" else "",
        tags=_tags(entry, status) | changed,
        started_ms=round(entry.started * 1000),
        ended_ms=None if entry.ended is None else round(entry.ended * 1000),
        rows=[{name: row[name] for name in _KEPT if name in row} for row in rows],
    )


def _tags(entry: Entry, status: Status) -> dict[str, str]:
    tags = {
        "status": status,
        "reason": entry.reason,
        "node": entry.node,
        "cpus": f"{entry.cpus:g}",
        "gpus": f"{entry.gpus:g}",
        "seconds": f"{entry.seconds:.1f}",
        "restarts": str(entry.restarts),
    }
    return {f"vidpred.{name}": value for name, value in tags.items() if value}
