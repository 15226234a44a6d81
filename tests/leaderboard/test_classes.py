"""The leaderboard of classifiers: top-1 beside the commonest class, on the same videos, and a model of one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from tests.leaderboard.conftest import CHANGES
from tests.shapes import write_colours
from vidpred.cli import app
from vidpred.commands.leaderboard import show
from vidpred.data.shards import Shards
from vidpred.data.split import write_groups
from vidpred.errors import UserError
from vidpred.leaderboard.bench import Bench
from vidpred.leaderboard.board import make_board
from vidpred.leaderboard.classes import ClassStanding
from vidpred.leaderboard.plan import make_plan
from vidpred.leaderboard.submit import submit
from vidpred.tracking import store

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*")


@pytest.fixture
def colours(tmp_path: Path, root: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose classes are colours, as the current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    params = yaml.safe_load((root / "params.yaml").read_text())
    for section, values in CHANGES.items():
        params[section] |= values
    params["task"] |= {"kind": "classify", "context": 4}
    params["train"] |= {
        "batch_size": 16,
        "learning_rate": 0.01,
        "augment": params["train"]["augment"] | {"colour": False, "flip": False, "transpose": False, "reverse": False},
    }
    params["train"]["motion_share"] = 0.0
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(root / "dvc.yaml", folder)
    made = tmp_path / "made"
    made.mkdir()
    write_colours(made, groups=90)
    shutil.copytree(made / "shards", folder / "data/shards")
    shutil.copytree(made / "split", folder / "data/split")
    (folder / "runs").mkdir()
    shutil.copyfile(empty_store, folder / "runs/mlflow.db")
    monkeypatch.delenv("VIDPRED_HOME", raising=False)
    monkeypatch.chdir(folder)
    return folder


def test_classifiers_are_ranked_by_top1_beside_the_commonest_class(
    colours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"model": "single_frame", "config": {"width": 8}, "train": {"learning_rate": 1e-6}}
    (colours / "best.yaml").write_text(yaml.safe_dump(found))
    plan = make_plan(colours, models=["single_frame"], steps=40, seeds=2, rates=[1e-2], jobs=1, tuned=Path("best.yaml"))
    out = colours / "leaderboard"
    board = make_board(plan, out, command="vidpred leaderboard")
    assert isinstance(board.standing, ClassStanding)
    rows = {row.name: row for row in board.standing.rows}
    first, last = rows["single_frame"], rows["majority"]
    assert board.standing.rows[0] == first
    assert last.means["top1"] == pytest.approx(1 / 6)
    tuned = rows["single_frame (tuned)"]  # with a rate that learns nothing
    assert first.outdone is not None
    assert first.outdone["pooled"] == pytest.approx(tuned.means["top1"] - first.means["top1"])
    assert last.outdone is None
    assert first.means["top1"] > 0.5
    assert first.beats
    assert first.interval is not None
    assert first.interval[0] <= first.means["top1"] <= first.interval[1]
    assert first.seeds == 2
    assert first.spread[0] <= first.means["top1"] <= first.spread[1]
    table = pd.read_csv(out / "leaderboard.csv").set_index("name")
    assert table.loc[["single_frame", "majority"], "top1"].to_list() == pytest.approx([first.means["top1"], 1 / 6])
    assert table["tuned_gain_pooled"].dropna().to_dict() == {"single_frame": pytest.approx(first.outdone["pooled"])}
    for name in ("leaderboard.md", "leaderboard.html"):
        text = (out / name).read_text()
        assert "6 classes by 4 frames of 32×32" in text
        assert "majority" in text
        assert "single_frame (tuned) beats 0 of 1 default with the whole 95 % interval above zero" in text
    runs = store.connect().search_runs([store.connect().get_experiment_by_name(store.EXPERIMENT).experiment_id])
    assert any("single_frame/top1" in run.data.metrics for run in runs)

    trained = next(colours.glob("runs/leaderboard/runs/*/model"))
    shutil.copytree(trained, colours / "mine")
    board, called = submit(Bench(plan), "mine", out)
    assert called == "mine"
    rows = {row.name: row for row in board.standing.rows}
    assert rows["mine"].kind == "submitted"
    capsys.readouterr()
    show(board, marked="mine")
    told = capsys.readouterr().out
    assert "top-1" in told
    assert "mine" in told
    info = json.loads((colours / "mine/model.json").read_text())
    info["task"]["classes"][0] = "another"
    (colours / "mine/model.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="another task than this leaderboard: classes"):
        submit(Bench(plan), "mine", out)


def test_each_group_is_left_out_and_judged_by_top1(colours: Path) -> None:
    params = yaml.safe_load((colours / "params.yaml").read_text())
    params["train"] |= {"model": "single_frame", "steps": 30, "warmup_steps": 2}
    (colours / "params.yaml").write_text(yaml.safe_dump(params))
    clips = Shards(colours / "data/shards").clips
    own = [f"{clip.label}-{clip.group}" for clip in clips]  # of one class each, as videos of a folder a class are
    write_groups(colours / "data/split", clips, {"train": [], "val": [], "test": []}, groups=own, left_out={})
    groups = ["blue-g0", "red-g0"]
    done = CliRunner().invoke(app, ["leave-one-out", "--groups", ",".join(groups)])
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(colours / "leave_one_out/leave_one_out.csv")
    assert list(rows.columns) == ["group", "videos", "top1_single_frame", "top1_majority", "over_majority"]
    assert list(rows["group"]) == groups
    assert (rows["top1_single_frame"] == 1).all()  # colours are learned in a few steps
    # all classes are as common: it says the first of them, also where that has a clip less in training
    assert list(rows["top1_majority"]) == [1, 0]
    page = (colours / "leave_one_out/leave_one_out.md").read_text()
    for said in (
        "| left out | videos | top-1 single_frame | top-1 majority | over majority |",
        "points of top-1 pooled",
    ):
        assert said in page
