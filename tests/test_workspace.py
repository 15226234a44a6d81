"""What every stage leans on: cores counted as this process has them, keys of work that can be found again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.tracking import store
from vidpred.tracking.download import download
from vidpred.workspace import cores, stage_key


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_cores_are_those_of_this_process() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cores() == len(before)


def test_a_larger_budget_finds_the_same_sweep_and_a_changed_space_does_not(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  tune: {deps: [code.py], params: [tune, train.seed]}\n"
        "  flow: {deps: [code.py], params: [tune.trials]}\n"
    )
    (tmp_path / "code.py").write_text("")
    tune = {"models": {"conv2d": {}}, "steps": 10, "trials": 3, "minutes": None, "gpu_hours": None}

    def key(stage: str = "tune", **changes: object) -> str:
        params = {"tune": tune | changes, "train": {"seed": 0}, "resources": {"workers": 1}}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        return stage_key(stage, root=tmp_path)

    assert key() == key(trials=30) == key(minutes=5.0) == key(gpu_hours=1.5)
    assert len({key(), key(steps=20), key(models={"conv3d": {}})}) == 3
    assert key("flow") != key("flow", trials=30), "of other stages it is no budget"
    before = key()
    (tmp_path / "code.py").write_text("changed = 1")
    assert key() != before


def test_a_copy_in_runs_has_the_home_of_its_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDPRED_HOME", raising=False)
    copy = tmp_path / "runs/repro-classify"
    copy.mkdir(parents=True)
    for folder in (tmp_path, copy):
        for name in ("params.yaml", "dvc.yaml"):
            (folder / name).write_text("")
    assert workspace.home(copy) == workspace.home(tmp_path) == tmp_path / "runs"
    (tmp_path / "dvc.yaml").unlink()  # some project in some folder of that name
    assert workspace.home(copy) == copy / "runs"


def test_a_home_that_cannot_be_made_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "file/runs"))
    for ask in (
        workspace.home,
        workspace.home_or_none,
        store.tracking_uri,
        lambda: download("models:/vidpred@champion"),
    ):
        with pytest.raises(UserError, match=r"runs cannot be made .*: set VIDPRED_HOME to a folder that you may write"):
            ask()
    monkeypatch.delenv("VIDPRED_HOME")
    monkeypatch.chdir(tmp_path)
    assert workspace.home_or_none() is None


def test_the_weights_to_begin_with_are_part_of_a_sweep_s_key(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  tune: {deps: [], params: [train.init]}\n  train: {deps: [], params: [train]}\n"
    )
    (tmp_path / "begin").mkdir()
    weights = tmp_path / "begin/model.safetensors"
    weights.write_text("some")

    def keys(init: str | None) -> list[str]:
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"train": {"init": init}}))
        return [stage_key(stage, root=tmp_path) for stage in ("tune", "train")]

    at_random, some, version = keys(None), keys("begin"), keys("models:/vidpred/3")
    weights.write_text("others")
    for a, b, c, d in zip(at_random, some, keys("begin"), version, strict=True):
        assert len({a, b, c, d}) == 4
    (tmp_path / "begin/notes.txt").write_text("changes nothing")
    weights.write_text("some")
    assert keys("begin") == some
