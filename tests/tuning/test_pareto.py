"""The Pareto front: nobody on it is beaten in everything."""

from __future__ import annotations

from vidpred.tuning.pareto import front


def test_only_what_nothing_else_beats_is_on_the_front() -> None:
    rows = [
        {"pd": 3.0, "ops": 10.0},
        {"pd": 2.0, "ops": 30.0},
        {"pd": 2.5, "ops": 30.0},  # beaten by the one before
        {"pd": 1.0, "ops": 90.0},
        {"pd": 1.0, "ops": 90.0},  # the same again
        {"pd": None, "ops": 1.0},
        {"pd": float("nan"), "ops": 1.0},
        {"pd": 9.0},
    ]
    assert front(rows, ["pd", "ops"]) == [3, 1, 0]
    assert front([], ["pd", "ops"]) == []
