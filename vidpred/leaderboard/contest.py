"""What a leaderboard does, in order: every model with every learning rate, the better rate with every seed, then judge.

In: a plan. Out: `Entry`s, one a row, with what they rest on. The test windows are opened for a model when its learning
rate has been chosen on validation, never before.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from vidpred.errors import UserError
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.crew import Failure, Job, Outcome, carry_out
from vidpred.leaderboard.plan import Plan
from vidpred.leaderboard.runs import Run
from vidpred.leaderboard.scores import Judgement
from vidpred.models import zoo
from vidpred.types import Model

log = logging.getLogger(__name__)

Kind = Literal["trained", "tuned", "baseline", "submitted"]


@dataclass
class Member:
    """One set of weights of an entry."""

    seed: int
    score: str
    """Key of what was found on test."""
    weights_sha256: str = ""
    steps: int | None = None
    clips_per_second: float | None = None
    """In training."""


@dataclass
class Entry:
    """A row of the leaderboard: a model with all its seeds."""

    name: str
    kind: Kind
    model: str
    """Of the zoo."""
    members: list[Member] = field(default_factory=list)
    """In the order of the seeds."""
    rates: dict[str, float | None] = field(default_factory=dict)
    """Learning rates that were tried, and PD or cross-entropy on validation; None: that training failed."""
    runs: list[str] = field(default_factory=list)
    """Keys of all its trainings, those with the other rates among them."""
    rate: float | None = None
    """The one of these that counts."""
    error: str = ""
    """Why there are no figures, or fewer seeds than asked for."""
    note: str = ""
    """What a reader has to know."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Entry:
        """From JSON."""
        return cls(**raw | {"members": [Member(**member) for member in raw["members"]]})

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class Interrupted(Exception):
    """Ctrl-C or SIGTERM; what was done is kept."""


def hold(plan: Plan, *, tick: Callable[[], None] = lambda: None) -> list[Entry]:
    """Trains and judges all that a plan asks for, baselines among it.

    Args:
        plan: What is asked for.
        tick: Called as often as `jobs_of` says, where nothing fails.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM; the same plan goes on from there.
        UserError: the baseline that all are held against has no figures.
    """
    contest = _Contest(plan, tick)
    if not carry_out(contest.start(), plan, done=contest.done):
        raise Interrupted
    bar = contest.entries[plan.references[0]]
    if not bar.members:
        raise UserError(f"{bar.name}, which all models are held against, has no figures: {bar.error}")
    return list(contest.entries.values())


def jobs_of(plan: Plan) -> int:
    """Trainings and judgements of a plan."""
    rest = plan.seeds - 1 + plan.seeds
    tuned = len(plan.tuned_rates) + rest if plan.tuned else 0
    return len(plan.baselines) + len(plan.models) * (len(plan.rates) + rest) + tuned


class _Contest:
    """Hears of outcomes and says what comes next."""

    def __init__(self, plan: Plan, tick: Callable[[], None]) -> None:
        self.plan, self.tick = plan, tick
        self.entries: dict[str, Entry] = {}
        self._tried: dict[str, dict[float, dict[str, Any]]] = {}
        self._count, self._total = 0, jobs_of(plan)

    def start(self) -> list[Job]:
        """Baselines, then the trainings with the first seed; costly models first, lest one is waited for at the end."""
        task = Bench(self.plan).data.task
        jobs: list[Job] = []
        for name in self.plan.baselines:
            self.entries[name] = Entry(name, "baseline", name)
            jobs.append(Judgement(name))
        cost: dict[str, int] = {}
        for name in self.plan.models:
            self.entries[name] = Entry(name, "trained", name)
            try:
                cost[name] = zoo.operations(zoo.build(name, {}, task, Model), task)
            except UserError as error:
                self._fail(name, str(error))
        if tuned := self.plan.tuned:
            self.entries[tuned.name] = Entry(tuned.name, "tuned", tuned.model, note=tuned.note)
            jobs += [Run(tuned.model, 0, rate, tuned=True) for rate in self.plan.tuned_rates]
        for name in sorted(cost, key=cost.__getitem__, reverse=True):
            jobs += [Run(name, 0, rate) for rate in self.plan.rates]
        return jobs

    def done(self, job: Job, outcome: Outcome) -> Sequence[Job]:
        """What an outcome asks for."""
        self._count += 1
        self.tick()
        self._tell(job, outcome)
        if isinstance(job, Run) and not isinstance(outcome, Failure):
            self.entries[job.row].runs.append(Path(outcome["folder"]).parent.name)
        if isinstance(job, Judgement):
            return self._judged(job, outcome)
        if job.seed == 0:
            return self._rate_tried(job, outcome)
        if isinstance(outcome, Failure):
            self._fail(job.row, f"seed {job.seed}: {outcome.reason}")
            return []
        return [self._to_judge(job, outcome)]

    def _rate_tried(self, job: Run, outcome: Outcome) -> Sequence[Job]:
        """Once all rates have been tried: the judgement of the best one, and the other seeds with it."""
        entry, tried = self.entries[job.row], self._tried.setdefault(job.row, {})
        if isinstance(outcome, Failure):
            entry.rates[f"{job.rate:g}"] = None
            entry.error = outcome.reason
        else:
            entry.rates[f"{job.rate:g}"] = outcome[self.plan.figure]
            tried[job.rate] = outcome
        if len(entry.rates) < len(self.plan.tuned_rates if job.tuned else self.plan.rates):
            return []
        finite = {rate: found[self.plan.figure] for rate, found in tried.items()}
        finite = {rate: distance for rate, distance in finite.items() if math.isfinite(distance)}
        if not finite:
            entry.error = entry.error or "no finite distance on validation"
            return []
        entry.error = ""
        entry.rate = min(finite, key=finite.__getitem__)
        chosen = replace(job, rate=entry.rate)
        others = [replace(chosen, seed=seed) for seed in range(1, self.plan.seeds)]
        return [self._to_judge(chosen, tried[entry.rate]), *others]

    def _to_judge(self, run: Run, outcome: dict[str, Any]) -> Judgement:
        entry = self.entries[run.row]
        entry.members.append(
            Member(run.seed, score="", steps=outcome["steps"], clips_per_second=outcome["clips_per_second"])
        )
        return Judgement(run.row, run.seed, outcome["folder"])

    def _judged(self, job: Judgement, outcome: Outcome) -> Sequence[Job]:
        entry = self.entries[job.name]
        if entry.kind == "baseline":
            entry.members.append(Member(0, score=""))
        member = next(one for one in entry.members if one.seed == job.seed)
        if isinstance(outcome, Failure):
            entry.members.remove(member)
            self._fail(job.name, outcome.reason)
        else:
            member.score, member.weights_sha256 = outcome["score"], outcome["weights_sha256"]
        entry.members.sort(key=lambda one: one.seed)
        return []

    def _fail(self, name: str, reason: str) -> None:
        log.warning("%s: %s", name, reason)
        self.entries[name].error = reason

    def _tell(self, job: Job, outcome: Outcome) -> None:
        told = f"{self._count} of {self._total}"
        if isinstance(outcome, Failure):
            log.warning("%s  %s failed: %s", told, job, outcome.reason)
        elif isinstance(job, Run):
            speed = outcome["clips_per_second"]
            paced = f", {speed:.0f} clips/s" if speed else ""
            what = "cross-entropy" if self.plan.classify else "PD"
            figure = outcome[self.plan.figure]
            log.info("%s  %s: %s %.2f on validation after %d steps%s", told, job, what, figure, outcome["steps"], paced)
        else:
            log.info("%s  %s: done", told, job)
