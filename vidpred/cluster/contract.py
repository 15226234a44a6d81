"""What a search and its surroundings say to each other: plain types, nothing of Ray.

In: a `Search`, a `Suggester` that names points, a `Trial` that tries one in a worker, and the `PastTrial`s that an
earlier process has on record. Out: events, told in the driver to a `Listener`, which keeps the record.

**The record is the truth.** A search is always "given the past, run what remains": trials that are `finished`,
`stopped` or `failed` are not run again; `running` and `interrupted` ones go on from their last checkpoint; the rungs of
a scheduler and the observations of a suggester are built again from the reports of the past. So whoever records writes
each report once (a step that is reported again, after a restart, is the same step), and hands all of it back. To have
a failed trial tried again, hand it back as `interrupted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from vidpred.training.peers import Peers

Point = Mapping[str, Any]
"""One configuration to try: {"model": name, "config": fields of the model, "train": fields of `train`}."""

Status = Literal["running", "interrupted", "finished", "stopped", "failed"]
"""`finished`: came to its last step. `stopped`: ended early by the scheduler. `failed`: broke, and is not tried again.
`interrupted`: broken off by the end of the budget or of the process; it goes on where there is budget again."""
ENDED: tuple[Status, ...] = ("finished", "stopped", "failed")
"""Of a trial that is not run again."""

Figures = Mapping[str, Any]
"""Of one report. Beside what the trial says (`step` and the search's metric among it): `seconds` that it has computed
so far in all its starts, and where: `node_id`, `node_ip`, `pid`."""


class Reporter(Protocol):
    """How a trial speaks with the search, in a worker."""

    def resume_from(self) -> Path | None:
        """A folder with what the trial last saved, where it is continued."""

    def __call__(self, figures: Mapping[str, Any], save: Callable[[Path], object]) -> None:
        """Reports figures and saves what is needed to go on from here into the folder that `save` is given."""


Trial = Callable[[Point, Reporter, Peers], None]
"""Tries a point, in a worker, perhaps on another machine: what it holds must survive pickling, and its paths must be
the same there. Of several workers each calls it, with the others as peers."""


@dataclass(frozen=True)
class PastTrial:
    """What is on record of a trial."""

    number: int
    point: Point
    status: Status
    reports: Sequence[Figures] = ()
    """In order of steps."""
    checkpoint: str | None = None
    """Path or URI of the last one."""
    changes: Sequence[Mapping[str, Any]] = ()
    """By population-based training, in order: `step`, `taken_from`, and its points `before` and after (`point`)."""

    @property
    def changed_at(self) -> int:
        """Last step at which population-based training gave it another point; 0: never."""
        return max((int(change["step"]) for change in self.changes), default=0)

    def point_at(self, step: int) -> Point:
        """Its point when it came to a step."""
        return next((change["before"] for change in self.changes if int(change["step"]) >= step), self.point)


@dataclass
class Spent:
    """What a search has used up so far, in all its processes."""

    seconds: float = 0
    """Of wall time."""
    gpu_seconds: float = 0
    """Over all trials: GPUs set aside times seconds."""


class Suggester(Protocol):
    """Names points. The same calls give the same points; so what it learns comes from the past or from new trials
    alike."""

    def suggest(self, number: int) -> Point | None:
        """The point of a trial; None: there are no more."""

    def learn(self, trial: PastTrial) -> None:
        """Told of every trial that has ended, those of the past first, in the order of their numbers."""


class Listener(Protocol):
    """Told, in the driver, how trials get on. What it raises ends the search."""

    def started(self, number: int, point: Point, *, resources: Mapping[str, float]) -> None:
        """In a worker: for the first time, and again after it `broke` or was paused.

        `resources` has `CPU` and `GPU`: what it takes in all."""

    def broke(self, number: int, reason: str) -> None:
        """It, its worker or its machine; it will be started again from its last checkpoint."""

    def reported(self, number: int, figures: Figures, checkpoint: str | None) -> None:
        """Checkpoint: where Ray keeps what was saved with it. A step may come twice, after a restart."""

    def changed(self, number: int, point: Point, *, taken_from: int, step: int, checkpoint: str | None) -> None:
        """By population-based training: it goes on from another trial's checkpoint, with another point."""

    def ended(self, number: int, status: Status, reason: str, traceback: str = "") -> None:
        """Not `running`. The reason is one line, of a failed trial what went wrong; "" where it is finished."""

    def spent(self, spent: Spent) -> None:
        """Every few seconds, and at the end."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `log`: drawn evenly between the logarithms."""

    low: float
    high: float
    log: bool = False
    values: Sequence[float] | None = None
    """All there are; None: any number."""

    def nearest(self, value: float) -> float:
        """That the range has."""
        within = min(max(value, self.low), self.high)
        return within if self.values is None else min(self.values, key=lambda one: abs(one - within))


@dataclass(frozen=True)
class Search:
    """What is searched and how hard."""

    name: str
    """Of the experiment, a folder in `storage`."""
    storage: Path
    """Where Ray keeps the trials' checkpoints, the same on every machine."""
    metric: str
    """Figure to make small; schedulers go by it."""
    max_steps: int
    """A trial that reports this `step` has finished; of one whose reports say how many `steps` it has in all, that."""
    grace_steps: int
    """Steps between two reports; a trial is not stopped before the first. Trials with `steps` of their own report as
    often: they are compared at equal shares of their way."""
    trials: int | None = None
    """Budget: how many in all, those of the past among them. None: as long as the suggester names points."""
    max_seconds: float | None = None
    """Budget: of wall time, that of the past included."""
    max_gpu_seconds: float | None = None
    """Budget: of all trials, those of the past included."""
    scheduler: Literal["fifo", "asha", "median", "hyperband", "pbt", "pb2"] = "asha"
    """Which trials are ended early, or (pbt, pb2) go on from another's weights."""
    reduction_factor: int = 3
    """asha, hyperband: one in so many goes on from each rung."""
    mutations: Mapping[str, Any] = field(default_factory=dict)
    """pbt, pb2: what may be changed, by place in the point ("train.learning_rate"): a `Range`, or a list of choices."""
    seed: int = 0
    """Of the scheduler's draws."""
    cpus_per_trial: float = 1
    """Set aside for a trial, or for each of its workers."""
    gpus_per_trial: float | None = None
    """Set aside for a trial, or for each of its workers. None: where the cluster has any, by `gpu_bytes`."""
    gpu_bytes: Callable[[Point], int] | None = None
    """Estimated memory that a trial, or each of its workers, needs on a GPU: as many share one as fit. None: it has a
    whole one."""
    workers_per_trial: int = 1
    """Processes that share out the batches of a trial."""
    trials_at_once: int | None = None
    """None: as many as there is room for."""
    max_failures: int = 2
    """Times that a trial is started again after its worker or machine broke."""


@dataclass(frozen=True)
class Outcome:
    """How a search came to its end."""

    why: Literal["trials", "points", "minutes", "gpu_hours"]
    """What ended it: the budget in trials, no more points, or the budget in time."""
    spent: Spent
