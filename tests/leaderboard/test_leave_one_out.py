"""What somebody sees who asks how a model does on videos that training has not seen."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from tests.leaderboard.conftest import make_project
from vidpred.cli import app
from vidpred.config import SplitParams
from vidpred.data.shards import Shards
from vidpred.data.split import leave_out, write_groups
from vidpred.errors import UserError
from vidpred.leaderboard import leave_one_out
from vidpred.types import Clip, Segment


@pytest.fixture
def videos(tmp_path: Path, root: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of three groups; the clips of the others are left out of its split."""
    project = make_project(tmp_path / "project", root=root, digits=digits)
    monkeypatch.delenv("VIDPRED_HOME", raising=False)
    monkeypatch.chdir(project)
    clips = Shards(project / "data/shards").clips
    groups = sorted({clip.group for clip in clips})[:3]
    left_out = {row: "short" for row, clip in enumerate(clips) if clip.group not in groups}
    write_groups(
        project / "data/split", clips, {"train": [], "val": [], "test": []},
        groups=[clip.group for clip in clips], left_out=left_out,
    )  # fmt: skip
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["train"] |= {"model": "conv2d", "steps": 2}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    return project


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["leave-one-out", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_every_group_is_judged_by_a_model_that_never_saw_it(videos: Path) -> None:
    shown = run()
    rows = pd.read_csv(videos / "leave_one_out/leave_one_out.csv")
    clips = Shards(videos / "data/shards").clips
    assert list(rows["group"]) == sorted({clip.group for clip in clips})[:3]
    assert (rows[["pd_conv2d", "pd_copy_last", "pd_flow_gate"]] > 0).all(axis=None)
    page = (videos / "leave_one_out/leave_one_out.md").read_text()
    for text in (*rows["group"], "over copy_last: ", "over flow_gate: ", "macro (95 %: "):
        assert text in page
        assert text in shown


def clip(group: str, length: int) -> Clip:
    """A row of an index; its id and frames do not matter."""
    return Clip(group, group, "", group, "", "", 0, length, fps=10.0, motion=1.0)


def test_the_group_left_out_is_in_no_other_part_and_no_frame_in_two() -> None:
    clips = [clip("a", 40), clip("b", 60), clip("b", 12), clip("c", 30)]
    parts = leave_out(clips, {"a": [0], "b": [1, 2], "c": [3]}, "a", SplitParams(val=0.2), span=6)
    assert parts["test"] == [Segment(0, 0, 40)]
    assert parts["val"] == [Segment(1, 49, 11), Segment(3, 24, 6)]
    assert parts["train"] == [Segment(1, 0, 44), Segment(2, 0, 12), Segment(3, 0, 19)]


def test_of_clips_too_short_to_cut_a_group_validates() -> None:
    clips = [clip(name, 8) for name in "aabbc"]
    parts = leave_out(clips, {"a": [0, 1], "b": [2, 3], "c": [4]}, "c", SplitParams(), span=6)
    within = {part: {clips[s.clip].group for s in segments} for part, segments in parts.items()}
    assert within["test"] == {"c"}
    assert {*within["train"], *within["val"]} == {"a", "b"}
    assert not within["train"] & within["val"]


def test_what_is_done_is_kept(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = next(iter(sorted({clip.group for clip in Shards(videos / "data/shards").clips})))
    run("--groups", first, "--steps", "2")
    assert len(pd.read_csv(videos / "leave_one_out/leave_one_out.csv")) == 1
    trained = []
    train = leave_one_out.train_model

    def watched(*arguments: object, **named: object) -> object:
        trained.append(arguments)
        return train(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(leave_one_out, "train_model", watched)
    run()
    assert len(trained) == 2  # of three


@pytest.mark.usefixtures("videos")
def test_what_cannot_be_asked_is_said_in_a_line() -> None:
    result = CliRunner().invoke(app, ["leave-one-out", "--groups", "nobody"])
    assert isinstance(result.exception, UserError)
    assert "no group is called nobody" in str(result.exception)
