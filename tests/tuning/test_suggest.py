"""Who names the points: the same every time, defaults first, the best of earlier sweeps before all."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vidpred.cluster.contract import Range
from vidpred.config import Params, TuneParams
from vidpred.errors import UserError
from vidpred.tuning.plan import planned
from vidpred.tuning.suggest import Draws, Grid, Members, warm_points
from vidpred.types import Task

TASK = Task(context=5, horizon=1, height=32, width=32)
SPACE = {"config": {"width": [8, 16]}, "train": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}


def tune(**fields: object) -> TuneParams:
    models = {"warpmix": SPACE, "convlstm": {}}
    return TuneParams.model_validate({"models": models, "trials": 6, "steps": 10, "grace_steps": 5} | fields)


def with_tune(params: Params, tune: TuneParams) -> Params:
    return params.model_copy(update={"tune": tune})


def test_every_model_gets_its_default_first_and_then_draws() -> None:
    found = [Draws(tune()).suggest(number) for number in range(5)]
    assert [point["model"] for point in found] == ["warpmix", "convlstm", "warpmix", "warpmix", "warpmix"]
    assert found[0] == {"model": "warpmix", "config": {}, "train": {}}
    for point in found[2:]:
        assert point["config"]["width"] in (8, 16)
        assert 1e-4 <= point["train"]["learning_rate"] <= 1e-2
    assert found[2] != found[4]


def test_a_point_depends_on_its_number_and_the_seed_alone() -> None:
    assert Draws(tune()).suggest(4) == Draws(tune(trials=100)).suggest(4)
    assert Draws(tune()).suggest(4) != Draws(tune(seed=1)).suggest(4)


def test_no_point_is_drawn_twice_and_a_small_space_ends() -> None:
    models = {"warpmix": {"config": {"width": [8, 16, 24]}}, "convlstm": {"config": {"filters": [4, 8]}}, "conv2d": {}}
    draws = Draws(tune(models=models))
    points = [draws.suggest(number) for number in range(8)]
    assert [points.count(point) for point in points] == [1] * 8
    assert draws.suggest(8) is None


def test_a_grid_ends() -> None:
    models = {"warpmix": {"config": {"width": [8, 16]}}, "convlstm": {"config": {"filters": [4, 8, 16]}}}
    points = Grid(tune(models=models, search="grid", trials=None)).points
    assert [point["model"] for point in points] == ["warpmix", "convlstm"] * 2 + ["convlstm"]
    assert [point["config"] for point in points if point["model"] == "convlstm"] == [
        {"filters": 4}, {"filters": 8}, {"filters": 16},
    ]  # fmt: skip
    assert Grid(tune(models=models, search="grid", trials=None)).suggest(5) is None


def test_members_of_a_population_write_out_what_may_change(params: Params) -> None:
    models = {"convlstm": {"train": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "loss.gdl": [0.1, 1]}}}
    population = tune(models=models, scheduler="pbt", trials=4)
    first = Members(population, params.train).suggest(0)
    assert first == {
        "model": "convlstm", "config": {},
        "train": {"learning_rate": params.train.learning_rate, "loss.gdl": params.train.loss["gdl"]},
    }  # fmt: skip
    search = planned(with_tune(params, population), TASK, name="x", storage=Path(), best=Path("best.yaml")).search
    assert search.mutations == {"train.learning_rate": Range(1e-4, 1e-2, log=True), "train.loss.gdl": [0.1, 1]}


@pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
def test_a_population_keeps_to_the_steps_of_a_range(scheduler: str, params: Params) -> None:
    models = {"convlstm": {"train": {"batch_size": {"low": 4, "high": 12, "step": 4}}}}
    population = tune(models=models, scheduler=scheduler, trials=4)
    search = planned(with_tune(params, population), TASK, name="x", storage=Path(), best=Path("best.yaml")).search
    mutation = search.mutations["train.batch_size"]
    if scheduler == "pbt":  # goes to a neighbour in a list
        assert mutation == [4, 8, 12]
    else:
        found = [mutation.nearest(value) for value in (3.1, 5.9, 8.4, 40.0)]
        assert found == [4, 4, 8, 12]
        assert all(isinstance(value, int) for value in found)


def test_the_best_of_earlier_sweeps_is_tried_first(params: Params, tmp_path: Path) -> None:
    ours = {"model": "convlstm", "config": {"filters": 4}, "train": {"learning_rate": 0.002}}
    theirs = {"model": "conv2d", "config": {}, "train": {}}
    (tmp_path / "best.yaml").write_text(yaml.safe_dump(ours))
    (tmp_path / "sweeps/0123456789abcdef").mkdir(parents=True)
    (tmp_path / "sweeps/0123456789abcdef/best.yaml").write_text(yaml.safe_dump(theirs))
    warm = tune(warm_start=[str(tmp_path / "best.yaml"), "0123456789abcdef", str(tmp_path / "best.yaml")])
    suggester = planned(
        with_tune(params, warm), TASK, name="x", storage=tmp_path / "sweeps", best=tmp_path / "new.yaml"
    ).suggester
    assert [suggester.suggest(number) for number in range(4)] == [
        ours, theirs, Draws(warm).suggest(0), Draws(warm).suggest(1),
    ]  # fmt: skip


def test_what_the_sweep_itself_writes_is_no_warm_start(params: Params, tmp_path: Path) -> None:
    best = tmp_path / "best.yaml"
    best.write_text("{model: convlstm, config: {}, train: {}}")
    with pytest.raises(UserError, match="DVC removes before the sweep that writes it anew: copy it, or give the key"):
        warm_points([str(best)], sweeps=tmp_path, own=best, train=params.train, task=TASK)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "there is neither such a file nor a sweep"),
        ("{}", "is not what a sweep writes"),
        ("{model: convlstm, config: {filtres: 4}, train: {}}", "is impossible here: convlstm has no config field"),
        (
            "{model: convlstm, config: {}, train: {batch_size: 0}}",
            "is impossible here: batch_size is 0: it must be at least 1",
        ),
    ],
)
def test_a_warm_start_that_is_none_is_said_so(written: str | None, said: str, params: Params, tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    if written is not None:
        path.write_text(written)
    with pytest.raises(UserError, match=said):
        warm_points([str(path)], sweeps=tmp_path / "sweeps", own=tmp_path / "new.yaml", train=params.train, task=TASK)
