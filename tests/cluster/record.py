"""What tests of searches share: a listener that keeps everything, and points that differ in a rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vidpred.cluster.contract import Figures, PastTrial, Point, Spent, Status


class Record:
    """A listener that keeps all of it, as a ledger would; `watch` is called with each event."""

    def __init__(self, watch: Callable[[str, int], object] = lambda *_: None) -> None:
        self.trials: dict[int, dict[str, Any]] = {}
        self.events: list[tuple[str, int]] = []
        self.reasons: dict[int, str] = {}
        self.tracebacks: dict[int, str] = {}
        self.used = Spent()
        self._watch = watch

    def _note(self, event: str, number: int) -> None:
        self.events.append((event, number))
        self._watch(event, number)

    def started(self, number: int, point: Point, *, resources: Mapping[str, float]) -> None:
        assert resources["CPU"] > 0
        known = {"point": point, "reports": [], "checkpoint": None, "changes": []}
        self.trials.setdefault(number, known)["status"] = "running"
        self._note("started", number)

    def broke(self, number: int, reason: str) -> None:
        self.reasons[number] = reason
        self._note("broke", number)

    def reported(self, number: int, figures: Figures, checkpoint: str | None) -> None:
        trial = self.trials[number]
        if figures["step"] not in {row["step"] for row in trial["reports"]}:
            trial["reports"].append(dict(figures))
        trial["checkpoint"] = checkpoint or trial["checkpoint"]
        self._note("reported", number)

    def changed(self, number: int, point: Point, *, taken_from: int, step: int, checkpoint: str | None) -> None:
        trial = self.trials[number]
        change = {"step": step, "taken_from": taken_from, "before": trial["point"], "point": point}
        self.trials[number] |= {"point": point, "checkpoint": checkpoint, "changes": [*trial["changes"], change]}
        self._note("changed", number)

    def ended(self, number: int, status: Status, reason: str, traceback: str = "") -> None:
        self.trials[number]["status"], self.reasons[number] = status, reason
        self.tracebacks[number] = traceback
        self._note("ended", number)

    def spent(self, spent: Spent) -> None:
        self.used = spent

    def past(self) -> list[PastTrial]:
        return [PastTrial(number, **trial) for number, trial in self.trials.items()]

    def figures(self) -> dict[int, list[tuple[int, float]]]:
        return {
            n: [(row["step"], round(row["loss"], 9)) for row in trial["reports"]]
            for n, trial in sorted(self.trials.items())
        }

    def statuses(self) -> dict[int, str]:
        return {number: trial["status"] for number, trial in sorted(self.trials.items())}


class Rates:
    """So many points."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.learnt: list[int] = []

    def suggest(self, number: int) -> Point | None:
        return {"model": "m", "config": {}, "train": {"rate": 0.1**number}} if number < self._count else None

    def learn(self, trial: PastTrial) -> None:
        self.learnt.append(trial.number)
