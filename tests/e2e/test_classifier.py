"""The second kind of task from clips to a registered model and back: every command that takes a model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
NAME = "models:/vidpred-classify"


@pytest.fixture(scope="module")
def ran(project: Project) -> Project:
    """Two versions, the second of fewer steps."""
    project.edit("datasets/moving_shapes.yaml", {"groups": 24})
    project.run("vidpred", "preset", "moving_shapes")
    project.edit("params.yaml", {"tune": {"models": {"early_fusion": {}}, "trials": 2, "steps": 4, "grace_steps": 2}})
    project.run("git", "commit", "--quiet", "--all", "-m", "classes")
    for steps in (30, 20):
        project.edit("params.yaml", {"train": {"model": "early_fusion", "steps": steps, "evaluate_every": 10}})
        project.run("dvc", "repro", "sweep", "register")
    return project


def test_it_is_verified_and_made_again_to_the_bit(ran: Project) -> None:
    assert "all that was looked at is as it was" in ran.run("vidpred", "verify", f"{NAME}/2")
    assert "task: 8 frames to 8 classes at 32x32" in ran.run("vidpred", "explain", f"{NAME}/1")
    out = ran.run("vidpred", "reproduce", f"{NAME}/1", "--yes", "--json")
    told = json.loads(out[out.index("\n{\n") :])
    assert told["same"], out
    assert set(told["metrics"]) == {"top1", "top5", "cross_entropy"}
    assert all(then == now for then, now in told["metrics"].values())


def test_two_of_them_are_compared_by_videos(ran: Project, tmp_path: Path) -> None:
    page = tmp_path / "diff.html"
    told = json.loads(ran.run("vidpred", "diff", f"{NAME}/1", f"{NAME}/2", "--json", "--html", str(page)))
    assert told["params"] == {"train.steps": ["30", "20"]}
    figures = {figure["name"]: figure for figure in told["figures"]}
    assert figures["cross_entropy"]["interval"]
    assert "test videos" in told["windows"]
    assert "cross_entropy" in page.read_text()


def test_plots_are_drawn_without_a_word(ran: Project) -> None:
    said = ran.run("dvc", "plots", "show", "-o", "plots")
    assert "WARNING" not in said
    page = (ran.folder / "plots/index.html").read_text()
    assert "val_cross_entropy" in page
    assert "val_perceptual_distance" not in page


def test_it_is_used_on_a_folder_and_exported(ran: Project, tmp_path: Path) -> None:
    ran.run("vidpred", "classify", "data/raw/files", "-o", str(tmp_path / "classes.csv"))
    with (tmp_path / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 * 8
    assert all(abs(sum(float(row[name]) for name in list(row)[5:]) - 1) < 1e-4 for row in rows)
    ran.run("vidpred", "pull", f"{NAME}/1", "-o", str(tmp_path / "pulled"))
    ran.run("vidpred", "export", str(tmp_path / "pulled"), "-o", str(tmp_path / "model.pt2"))
    assert (tmp_path / "model.pt2").stat().st_size > 10_000
