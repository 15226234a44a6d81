"""What a sweep tries: the same every time, defaults first, and nothing impossible."""

from __future__ import annotations

import pytest

from vidpred.config import Params, TuneParams
from vidpred.errors import UserError
from vidpred.tuning.results import describe
from vidpred.tuning.space import points
from vidpred.types import Task

TASK = Task(context=5, horizon=1, height=32, width=32)


def tune(**models: object) -> TuneParams:
    return TuneParams.model_validate({"models": models, "trials": 6, "steps": 10, "grace_steps": 5})


def test_every_model_gets_its_default_first_and_then_draws(params: Params) -> None:
    space = {"config": {"width": [8, 16]}, "train": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}
    found = points(tune(warpmix=space, convlstm={}), params.train, TASK)
    assert [p["model"] for p in found] == ["warpmix", "convlstm"] * 3
    assert found[0] == {"model": "warpmix", "config": {}, "train": {}}
    for point in (found[2], found[4]):
        assert point["config"]["width"] in (8, 16)
        assert 1e-4 <= point["train"]["learning_rate"] <= 1e-2
    assert found[2] != found[4]
    assert found == points(tune(warpmix=space, convlstm={}), params.train, TASK)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"warpmx": {}}, "did you mean 'warpmix'"),
        ({"warpmix": {"config": {"widht": [8, 16]}}}, "did you mean 'width'"),
        ({"warpmix": {"config": {"frames": [9, 10]}}}, "looks at"),
    ],
)
def test_an_impossible_space_is_an_error_before_anything_starts(models: dict, said: str, params: Params) -> None:
    with pytest.raises(UserError, match=said):
        points(tune(**models), params.train, TASK)


def test_a_point_in_a_few_words() -> None:
    assert describe({"model": "conv2d", "config": {}, "train": {}}) == "conv2d (defaults)"
    point = {"model": "conv2d", "config": {"depth": 3}, "train": {"learning_rate": 0.00123}}
    assert describe(point) == "conv2d depth=3 learning_rate=0.0012"
