"""The whole pipeline as a user runs it: once through, again for nothing, and what can be done with the result."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.e2e.conftest import Project

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def ran(project: Project) -> Project:
    project.run("dvc", "repro")
    return project


def results(project: Project, path: str) -> dict:
    return json.loads((project.folder / "results" / path).read_text())


def test_every_stage_leaves_its_outputs(ran: Project) -> None:
    transcode = results(ran, "transcode/summary.json")
    assert transcode["inputs"] == transcode["kept"] + transcode["dropped"] + transcode["failed"] == 120
    figures = results(ran, "evaluate/metrics.json")
    assert {"copy_last", "flow_gate", figures["model"]["name"]} == figures["test"].keys()
    assert {"perceptual_distance", "psnr_db", "ssim", "l1", "mse", "gdl", "sharpness_db"} <= figures["test"][
        "copy_last"
    ].keys()
    trials = pd.read_parquet(ran.folder / "data/tune/trials.parquet")
    assert len(trials) == 3
    assert set(trials["model"]) == {"conv2d", "warpmix"}
    assert len(pd.read_csv(ran.folder / "results/tune/trials.csv")) == 3
    rolled = pd.read_parquet(ran.folder / "data/evaluation/rollout.parquet")
    assert rolled.groupby("model")["step"].max().eq(3).all()
    page = (ran.folder / "report/index.html").read_text()
    assert "CPU seconds" in page
    assert f"{figures['test']['copy_last']['perceptual_distance']:.2f}" in page


def test_the_model_is_better_than_copying(ran: Project) -> None:
    test = results(ran, "evaluate/metrics.json")["test"]
    name = results(ran, "train/summary.json")["model"]
    assert test[name]["perceptual_distance"] < 0.97 * test["copy_last"]["perceptual_distance"]


def test_a_second_run_does_nothing(ran: Project) -> None:
    before = ran.run("git", "status", "--porcelain")
    assert "up to date" in ran.run("dvc", "repro")
    assert ran.run("git", "status", "--porcelain") == before


def test_only_what_belongs_in_git_is_left_for_git(ran: Project) -> None:
    left = [line[3:] for line in ran.run("git", "status", "--porcelain").splitlines()]
    assert all(name.startswith(("dvc.lock", "results/")) for name in left), left
    size = sum(p.stat().st_size for p in (ran.folder / "results").rglob("*") if p.is_file())
    assert size < 1_000_000


def test_the_registered_model_continues_a_gif(ran: Project, tmp_path: Path) -> None:
    clip = next((ran.folder / "data/raw/files").glob("*.gif"))
    alias = results(ran, "register/receipt.json")["alias"]
    out = tmp_path / "out.gif"
    ran.run("vidpred", "predict", f"models:/vidpred@{alias}", str(clip), "--frames", "5", "-o", str(out))
    with Image.open(clip) as before, Image.open(out) as after:
        assert after.n_frames == before.n_frames + 5


def test_bad_input_gets_one_line_each(ran: Project, tmp_path: Path) -> None:
    text, empty = tmp_path / "text.gif", tmp_path / "empty"
    text.write_text("not a picture")
    empty.mkdir()
    for bad in (text, tmp_path / "missing.gif", empty):
        told = ran.run("vidpred", "predict", "models/trained", str(bad), "-o", str(tmp_path / "x.gif"), ok=False)
        assert "Traceback" not in told
        assert bad.name in told
    assert not (tmp_path / "x.gif").exists()


def test_a_wrong_parameter_is_named(ran: Project) -> None:
    params = ran.folder / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("ema_decay: 0.99", "ema_decay: 99"))
    try:
        told = ran.run("dvc", "repro", "train", ok=False)
    finally:
        params.write_text(before)
    assert "train.ema_decay is 99: it must be less than 1" in told
    assert "Traceback" not in told
