"""What a sweep may try: nothing impossible, and what a range with a step has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from vidpred.config import ModelSpace, Params, TuneParams, UniformSpace
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.tuning.results import describe
from vidpred.tuning.space import check_space, complete, draw, grid
from vidpred.types import Task

TASK = Task(context=5, horizon=1, height=32, width=32)


def tune(**models: object) -> TuneParams:
    return TuneParams.model_validate({"models": models, "trials": 6, "steps": 10, "grace_steps": 5})


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"warpmx": {}}, "did you mean 'warpmix'"),
        ({"warpmix": {"config": {"widht": [8, 16]}}}, r"tune\.models\.warpmix\.config\.widht is unknown: .* width"),
        ({"warpmix": {"config": {"frames": [9, 10]}}}, r"tune\.models\.warpmix\.config\.frames may be 9.*looks at"),
        ({"conv2d": {"config": {"depth": {"low": 1.5, "high": 4}}}}, r"conv2d\.config\.depth may be 1\.5.*whole"),
        (
            {"conv2d": {"train": {"learning_rate": {"low": -1, "high": 1}}}},
            r"tune\.models\.conv2d\.train: learning_rate is -1\.0: it must be more than 0",
        ),
        ({"conv2d": {"train": {"warmup_steps": {"low": 1, "high": 9}}}}, r"warmup_steps is a range, which draws"),
        ({"conv2d": {"train": {"ema_decay": [0.9, 1.0]}}}, r"ema_decay is 1\.0: it must be less than 1"),
        ({"conv2d": {"train": {"augment.stride": [1, 0]}}}, r"augment\.stride is 0: it must be at least 1"),
        ({"conv2d": {"train": {"loss.gdl": [-1.0, 0.5]}}}, r"loss\.gdl is -1\.0: it must be more than 0"),
    ],
)  # fmt: skip
def test_an_impossible_space_is_an_error_before_anything_starts(models: dict, said: str, params: Params) -> None:
    with pytest.raises(UserError, match=said):
        check_space(tune(**models), params.train, TASK)


def test_a_sound_space_is_none(params: Params) -> None:
    space = {
        "config": {"filters": {"low": 4, "high": 8, "step": 4}},
        "train": {"batch_size": [2, 4], "loss.gdl": {"low": 0.1, "high": 1.0, "log": True}},
    }
    check_space(tune(conv3d=space, copy_last={}), params.train, TASK)


def test_a_trial_may_leave_a_loss_out_and_augment_otherwise(params: Params) -> None:
    space = {"train": {"loss.gdl": [0, 0.25], "loss.l1": [0, 1.0], "augment.colour": [True, False]}}
    check_space(tune(conv2d=space), params.train, TASK)
    changed = params.train.changed({"loss.gdl": 0, "augment.colour": False})
    assert changed.loss == {"perceptual": 1.0}
    assert not changed.augment.colour
    assert changed.augment.flip == params.train.augment.flip
    with pytest.raises(UserError, match="loss is empty"):
        check_space(tune(conv2d={"train": {"loss.perceptual": [0]}}), params.train.changed({"loss.gdl": 0}), TASK)


def test_a_model_of_which_nothing_is_said_is_searched_as_its_file_proposes() -> None:
    asked = tune(convlstm={}, conv2d={"config": {"depth": [2, 3]}}, copy_last={})
    found = complete(asked, TASK).models
    assert found["convlstm"] == ModelSpace.model_validate(zoo.search("convlstm"))
    assert found["conv2d"] == asked.models["conv2d"]
    assert found["copy_last"] == ModelSpace()
    # less what has no part in the task
    between = Task(context=2, horizon=1, height=32, width=32, kind="interpolate")
    short = complete(tune(warpmix={}), between).models["warpmix"]
    assert short.config == {name: zoo.search("warpmix")["config"][name] for name in ("width", "warps")}
    grid_of = asked.model_copy(update={"search": "grid"})
    assert complete(grid_of, TASK) == grid_of  # it would have no end


def test_the_search_of_the_results_page_is_one(root: Path) -> None:
    told = TuneParams.model_validate(yaml.safe_load((root / "benchmarks/six_models.yaml").read_text())["tune"])
    assert len(told.models) == 6
    assert not any("batch_size" in space.train for space in told.models.values())


def test_a_range_with_a_step_has_these_values_only() -> None:
    assert UniformSpace(low=4, high=12, step=4).values == [4, 8, 12]
    assert UniformSpace(low=0, high=0.3, step=0.1).values == [0, 0.1, 0.2, 0.3]
    assert all(isinstance(value, int) for value in UniformSpace(low=4, high=12, step=4).values or [])
    rng = np.random.default_rng(0)
    assert {draw(UniformSpace(low=4, high=12, step=4), rng) for _ in range(50)} == {4, 8, 12}
    drawn = [draw(UniformSpace(low=1, high=64, step=1, log=True), rng) for _ in range(400)]
    assert set(drawn) <= set(range(1, 65))
    assert sum(float(value) <= 8 for value in drawn) == pytest.approx(200, abs=40)  # half of the octaves


def test_a_grid_has_all_combinations() -> None:
    space = tune(conv3d={"config": {"filters": [4, 8]}, "train": {"batch_size": {"low": 2, "high": 4, "step": 2}}})
    points = list(grid("conv3d", space.models["conv3d"]))
    assert [(p["config"]["filters"], p["train"]["batch_size"]) for p in points] == [(4, 2), (4, 4), (8, 2), (8, 4)]


def test_a_point_in_a_few_words() -> None:
    assert describe({"model": "conv2d", "config": {}, "train": {}}) == "conv2d (defaults)"
    point = {"model": "conv2d", "config": {"depth": 3}, "train": {"learning_rate": 0.00123}}
    assert describe(point) == "conv2d depth=3 learning_rate=0.0012"
