"""The search space that every trained model comes with: values that params.yaml takes and that build."""

from __future__ import annotations

import pytest

from vidpred.config import ModelSpace, UniformSpace
from vidpred.models import zoo
from vidpred.types import Task

TASK = Task(context=5, horizon=1, height=32, width=32)
TRAINED = [name for name in zoo.names() if zoo.is_trained(name)]


@pytest.mark.parametrize("name", TRAINED)
def test_every_value_builds_and_the_default_is_among_them(name: str) -> None:
    if name == "warpmix":
        pytest.skip("warpmix has no search space of its own yet")
    space = ModelSpace.model_validate(zoo.search(name))
    default = zoo.config_of(name, {})
    for field, values in space.config.items():
        assert isinstance(values, list)
        assert len(set(values)) == len(values) > 1
        assert getattr(default, field) in (*values, None)
        for value in values:
            assert zoo.parameters(zoo.build(name, {field: value}, TASK)) > 0
    for place in (0, -1):  # the smallest and the largest of all together
        together = {field: values[place] for field, values in space.config.items() if isinstance(values, list)}
        assert zoo.parameters(zoo.build(name, together, TASK)) > 0
    rates = space.train["learning_rate"]
    assert isinstance(rates, UniformSpace)
    assert rates.log
    assert rates.low <= 1e-3 <= 3e-3 <= rates.high  # those of `vidpred leaderboard`


def test_a_model_without_parameters_has_nothing_to_search() -> None:
    assert {name for name in zoo.names() if not zoo.search(name)} - {"warpmix"} == set(zoo.names()) - set(TRAINED)
