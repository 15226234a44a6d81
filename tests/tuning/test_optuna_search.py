"""Optuna: one study over models with fields of their own, the same from the same record, and better than chance."""

from __future__ import annotations

import math

import pytest

from vidpred.cluster.contract import PastTrial
from vidpred.config import Params, TuneParams
from vidpred.tuning.optuna_search import Optuna
from vidpred.tuning.suggest import Draws

MODELS = {
    "conv2d": {"train": {"learning_rate": {"low": 1e-5, "high": 1.0, "log": True}}},
    "convlstm": {"config": {"filters": {"low": 4, "high": 32, "step": 4}}, "train": {"batch_size": [2, 4, 8]}},
}


def tune(**fields: object) -> TuneParams:
    return TuneParams.model_validate(
        {"models": MODELS, "trials": 40, "steps": 10, "grace_steps": 5, "search": "optuna"} | fields
    )


def loss(point: dict) -> float:
    """Best at conv2d with a learning rate of 0.01."""
    rate = point["train"].get("learning_rate", 1e-3)
    return abs(math.log10(rate) + 2) if point["model"] == "conv2d" else 3 + 1 / point["config"].get("filters", 8)


def ended(number: int, point: dict, status: str = "finished", **figures: float) -> PastTrial:
    found = figures or {"perceptual_distance": loss(point)}
    return PastTrial(number, point, status, [{"step": 10} | found] if status != "failed" else [])  # type: ignore[arg-type]


def run(suggester: object, trials: int) -> list[dict]:
    points = []
    for number in range(trials):
        points.append(suggester.suggest(number))  # type: ignore[attr-defined]
        suggester.learn(ended(number, points[-1]))  # type: ignore[attr-defined]
    return points


def test_defaults_come_first_and_every_field_is_of_its_model(params: Params) -> None:
    points = run(Optuna(tune(), params.train), 25)
    assert points[:2] == [{"model": name, "config": {}, "train": {}} for name in MODELS]
    assert {point["model"] for point in points[2:]} == set(MODELS)
    for point in points[2:]:
        if point["model"] == "conv2d":
            assert set(point["train"]) == {"learning_rate"}
            assert 1e-5 <= point["train"]["learning_rate"] <= 1
        else:
            assert point["config"]["filters"] in range(4, 33, 4)
            assert point["train"]["batch_size"] in (2, 4, 8)


def test_it_learns(params: Params) -> None:
    late = [loss(point) for point in run(Optuna(tune(), params.train), 40)[20:]]
    chance = [loss(point) for point in run(Draws(tune(search="random")), 40)[20:]]
    assert sum(late) / len(late) < 0.6 * sum(chance) / len(chance)


def test_a_record_gives_the_same_next_point_as_the_run_did(params: Params) -> None:
    there = Optuna(tune(), params.train)
    points = run(there, 18)
    again = Optuna(tune(), params.train)
    for number, point in enumerate(points):
        again.learn(ended(number, point))
    assert again.suggest(18) == there.suggest(18)


@pytest.mark.parametrize("status", ["stopped", "failed"])
def test_what_was_stopped_or_failed_is_learnt_of_too(status: str, params: Params) -> None:
    suggester = Optuna(tune(), params.train)
    for number in range(14):
        point = suggester.suggest(number)
        assert point is not None
        suggester.learn(ended(number, point, status))
    again = Optuna(tune(), params.train)
    again.learn(ended(0, {"model": "convlstm", "config": {"filters": 4}, "train": {"batch_size": 4}}, status))
    assert again.suggest(2) is not None


def test_several_objectives(params: Params) -> None:
    suggester = Optuna(tune(objectives=["perceptual_distance", "operations"], scheduler="fifo"), params.train)
    for number in range(14):
        point = suggester.suggest(number)
        assert point is not None
        suggester.learn(ended(number, point, perceptual_distance=loss(point), operations=float(number)))
    assert suggester.suggest(14) is not None
