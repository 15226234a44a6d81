"""What a sweep found, as a row beside the defaults: the same steps, seeds and windows, and what it differs in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from vidpred.errors import UserError
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.board import Board, make_board
from vidpred.leaderboard.plan import Plan
from vidpred.leaderboard.submit import submit
from vidpred.leaderboard.table import PD, Row

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*")

MakePlan = Callable[..., Plan]
FOUND = {
    "model": "conv2d",
    "config": {"depth": 2},
    "train": {"learning_rate": 2e-3, "loss.gdl": 0, "augment.colour": False, "ema_decay": 0.5},
}


def written(project: Path, found: dict[str, Any] = FOUND, *, sweep: str | None = "0123456789abcdef") -> Path:
    """The files that a sweep leaves."""
    path = project / "results/tune/best.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(found))
    if sweep is not None:
        summary = {"sweep": sweep, "best": {"trial": 3, "model": found["model"]}}
        (path.parent / "summary.json").write_text(json.dumps(summary))
    return path.relative_to(project)


def held(plan: Plan, project: Path) -> Board:
    return make_board(plan, project / "leaderboard", command="vidpred leaderboard")


def row_of(board: Board, name: str) -> Row:
    return next(row for row in board.standing.rows if row.name == name)


def test_what_a_sweep_found_is_trained_and_judged_like_the_defaults(plan: MakePlan, done: Path) -> None:
    before = set(done.glob("runs/leaderboard/runs/*"))
    asked = plan(rates=[1e-3], seeds=2, tuned=written(done))
    board = held(asked, done)
    usual, tuned = row_of(board, "conv2d"), row_of(board, "conv2d (tuned)")
    assert (tuned.kind, tuned.model, tuned.seeds, tuned.steps) == ("tuned", "conv2d", 2, usual.steps)
    assert tuned.rates.keys() == {"0.002"}  # the rate of its sweep, not those that the others are tried with
    assert tuned.means != usual.means
    made = [
        json.loads((p / "model/model.json").read_text()) for p in set(done.glob("runs/leaderboard/runs/*")) - before
    ]
    ours = [info for info in made if info["config"]["depth"] == 2]
    assert len(ours) == 2  # seeds
    for info in ours:
        params = info["params"]
        assert params["loss"] == {"perceptual": 1.0}
        assert (params["learning_rate"], params["ema_decay"], params["augment"]["colour"]) == (2e-3, 0.5, False)
        assert (params["steps"], params["batch_size"]) == (2, asked.params.train.batch_size)

    assert usual.outdone is not None
    assert usual.outdone["pooled"] == pytest.approx(1 - tuned.means[PD] / usual.means[PD])
    assert tuned.outdone is None
    table = pd.read_csv(done / "leaderboard/leaderboard.csv").set_index("name")
    assert table.loc["conv2d", "tuned_gain_pooled"] == pytest.approx(usual.outdone["pooled"])
    assert table["tuned_gain_pooled"].notna().sum() == 1
    for suffix in ("md", "html"):
        text = (done / f"leaderboard/leaderboard.{suffix}").read_text()
        assert "conv2d (tuned) beside the defaults" in text
        assert "the best of sweep 0123456789abcdef (results/tune/best.yaml)" in text
        for told in ("depth 2 (", "loss.gdl 0 (0.25)", "augment.colour false (true)", "ema_decay 0.5 (0.99)"):
            assert told in text
        assert text.count("loss.gdl 0 (0.25)") == 1
        assert "failed" not in text  # it was never trained with the rates of the others

    # a submission writes the page anew, with this row
    again, _ = submit(
        Bench(asked), str(next(done.glob("runs/leaderboard/runs/*/model"))), done / "leaderboard", name="x"
    )
    assert row_of(again, "conv2d (tuned)").means == tuned.means


def test_a_sweep_whose_best_is_the_default_says_so_and_trains_nothing_twice(plan: MakePlan, done: Path) -> None:
    path = written(done, {"model": "conv2d", "config": {}, "train": {}}, sweep=None)
    before = set(done.glob("runs/leaderboard/runs/*"))
    board = held(plan(tuned=path), done)
    assert set(done.glob("runs/leaderboard/runs/*")) == before
    usual, tuned = row_of(board, "conv2d"), row_of(board, "conv2d (tuned)")
    assert tuned.means == usual.means
    assert "beats 0 of 1 default " in board.standing.verdict
    assert "; it is the default." in tuned.note
    assert "a sweep that left no summary beside it" in tuned.note


def test_a_configuration_that_fails_is_a_row_with_its_reason(plan: MakePlan, done: Path) -> None:
    found = FOUND | {"train": {"learning_rate": 1e30}}
    board = held(plan(steps=24, tuned=written(done, found)), done)
    assert "the loss has not been finite" in row_of(board, "conv2d (tuned)").error
    assert row_of(board, "conv2d").means
    assert "beside the defaults" not in (done / "leaderboard/leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "is not what a sweep writes: it needs model, config and train"),
        (FOUND | {"model": "conv2"}, "no model is called 'conv2'"),
        (FOUND | {"model": "copy_last"}, "copy_last has nothing to train"),
        (FOUND | {"config": {"dept": 2}}, "conv2d has no config field 'dept'"),
        (FOUND | {"train": {"steps": 900}}, "train.steps is none that a sweep may vary"),
        (FOUND | {"train": {"ema_decay": 1.5}}, "ema_decay"),
        (FOUND | {"train": {"batch_size": 16}}, "has batch_size 16, and at equal steps"),
    ],
)
def test_what_is_no_best_yaml_is_refused_in_one_line(
    found: dict[str, Any], said: str, plan: MakePlan, project: Path
) -> None:
    (project / "best.yaml").write_text(yaml.safe_dump(found))
    with pytest.raises(UserError) as refused:
        plan(tuned=Path("best.yaml"))
    assert said in str(refused.value)
    assert "best.yaml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_no_yaml_is_told(plan: MakePlan, project: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml cannot be read: No such file"):
        plan(tuned=Path("none.yaml"))
    (project / "best.yaml").write_bytes(b"\x89PNG\r\n: [")
    with pytest.raises(UserError, match="is not what a sweep writes"):
        plan(tuned=Path("best.yaml"))


def test_every_training_begins_at_random(plan: MakePlan, project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["train"]["init"] = "models/other"
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    assert plan().train(seed=0, rate=1e-3).init is None  # and so no model.json says otherwise


def test_at_equal_minutes_a_larger_batch_is_fair(plan: MakePlan, project: Path) -> None:
    path = written(project, FOUND | {"train": {"batch_size": 16}})
    asked = plan(steps=None, minutes=1, tuned=path)
    assert asked.tuned is not None
    assert asked.tuned.differs == ("depth 2 (4)", "batch_size 16 (2)")
    assert asked.train(seed=1, rate=1e-3, tuned=True).batch_size == 16
    assert asked.train(seed=1, rate=1e-3).batch_size == 2
    assert replace(asked, tuned=None).train(seed=1, rate=1e-3, tuned=True).batch_size == 2
