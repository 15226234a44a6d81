"""The way back from a classifier, and two of them side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.tracking.classes import NAME, ClassProject
from tests.tracking.lineage.conftest import PARAMS, STAGES, git
from vidpred.cli import app
from vidpred.config import load_params
from vidpred.tracking.lineage.checks import check
from vidpred.tracking.lineage.compare import compare
from vidpred.tracking.lineage.subject import opened
from vidpred.tracking.receipt import RECEIPT

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*")


@pytest.fixture
def colours(tmp_path: Path, root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> ClassProject:  # noqa: ARG001
    """A project in git, as the current folder, with two versions: one blind for two of six classes, one that is not."""
    folder = tmp_path / "colours"
    folder.mkdir()
    project = ClassProject(folder, load_params(root / "params.yaml"))
    for name in ("shards", "split"):
        shutil.copytree(folder / name, folder / "data" / name)
    (folder / "params.yaml").write_text(PARAMS.replace("clips", "colours"))
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / ".gitignore").write_text("*\n!params.yaml\n!dvc.yaml\n")
    git(folder, "init", "--quiet", "-b", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "all of it")
    monkeypatch.chdir(folder)
    for blind in (["red", "blue"], []):
        figures, _ = project.evaluate(project.model(blind))
        for path in ("results/evaluate", Path(RECEIPT).parent):
            (folder / path).mkdir(parents=True, exist_ok=True)
        (folder / "results/evaluate/metrics.json").write_text(json.dumps(figures))
        shutil.copytree(folder / "evaluation", folder / "data/evaluation", dirs_exist_ok=True)
        (folder / RECEIPT).write_text(json.dumps(project.register(blind)))
    return project


@pytest.mark.usefixtures("colours")
def test_two_classifiers_side_by_side_are_told_by_videos(tmp_path: Path) -> None:
    with opened(f"models:/{NAME}/1") as one, opened(f"models:/{NAME}/2") as other:
        found = compare(one, other, pictures=False)
    figures = {figure.name: figure for figure in found.figures}
    top1 = figures["top1"]
    assert (top1.one, top1.other, top1.better) == (pytest.approx(4 / 6), 1, "other")
    assert top1.interval is not None
    assert top1.interval[0] <= 1 / 3 <= top1.interval[1]
    assert top1.clear
    assert figures["cross_entropy"].interval is not None
    assert found.windows == "138 test videos, 276 test windows"
    page = tmp_path / "diff.html"
    done = CliRunner().invoke(app, ["diff", f"models:/{NAME}/1", f"models:/{NAME}/2", "--html", str(page)])
    assert done.exit_code == 0, done.output
    assert "its prediction" not in page.read_text()
    assert f"models:/{NAME}/2 is better" in " ".join(done.stdout.split())


@pytest.mark.usefixtures("colours")
def test_a_classifier_is_verified_and_explained(home: Path) -> None:
    report = check(f"models:/{NAME}@champion")
    assert report.findings == []
    done = CliRunner().invoke(app, ["explain", f"models:/{NAME}@champion"])
    assert done.exit_code == 0, done.output
    for said in ("task: 4 frames to 6 classes at 32x32", "on test: top-1 1", "champion: it beats"):
        assert said in done.stdout
    for weights in (home / "mlartifacts").rglob("model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert any("weights" in finding.hop for finding in check(f"models:/{NAME}@champion").findings)
