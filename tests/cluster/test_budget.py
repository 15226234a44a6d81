"""A budget of time holds over processes, and a limit is a limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vidpred.cluster.budget import Budget
from vidpred.cluster.contract import Search, Spent

SEARCH = Search(name="x", storage=Path(), metric="loss", max_steps=4, grace_steps=2)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_spent_before_counts() -> None:
    clock, told = Clock(), []
    budget = Budget(replace(SEARCH, max_seconds=60), Spent(seconds=50), told.append, clock)
    assert budget.used_up() is None
    clock.now += 9
    assert budget.used_up() is None
    clock.now += 1
    assert budget.used_up() == "minutes"
    assert told == [Spent(seconds=59)]  # not at every look
    budget.tell()
    assert told[-1] == Spent(seconds=60)


def test_gpu_seconds_are_those_of_all_trials_that_run() -> None:
    clock = Clock()
    budget = Budget(replace(SEARCH, max_gpu_seconds=30), Spent(gpu_seconds=10), lambda _: None, clock)
    clock.now += 100  # nothing runs yet
    budget.holds(1.5)
    clock.now += 10
    budget.holds(0)
    assert budget.used_up() is None
    clock.now += 100
    assert budget.spent.gpu_seconds == 25
    budget.holds(0.5)
    clock.now += 10
    assert budget.used_up() == "gpu_hours"
