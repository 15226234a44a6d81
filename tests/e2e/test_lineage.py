"""From a registered model back to its data and forth again, as a user goes: explain, verify, repair, reproduce."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CHAMPION = "models:/vidpred@champion"


@pytest.fixture(scope="module")
def ran(project: Project) -> Project:
    """Once by `dvc repro`, with code that is changed but not committed, once by an experiment; two versions."""
    net = project.folder / "vidpred/models/predict/warpmix.py"
    net.write_text(net.read_text() + "\n# a line that is not committed\n")
    project.run("dvc", "repro")
    project.run("dvc", "exp", "run", "--name", "slower", "-S", "train.learning_rate=0.001")
    return project


def versions(project: Project) -> dict[str, dict[str, str]]:
    """Tags of each version, read as anybody could."""
    with sqlite3.connect(project.folder / "runs/mlflow.db") as database:
        rows = database.execute("select version, key, value from model_version_tags").fetchall()
    found: dict[str, dict[str, str]] = {}
    for version, key, value in rows:
        found.setdefault(str(version), {})[key] = value
    return found


def left_behind(project: Project) -> list[str]:
    """Worktrees but the first, and files of theirs."""
    listed = project.run("git", "worktree", "list", "--porcelain").split("\n\n")
    folder = project.folder / "runs/reproduce"
    return [*listed[1:-1], *(str(path) for path in folder.glob("*/*"))]


def state(project: Project) -> tuple[str, str, dict[str, dict[str, str]]]:
    """What `reproduce` must not change."""
    return (
        project.run("git", "status", "--porcelain"),
        project.run("git", "rev-parse", "HEAD"),
        versions(project),
    )


@pytest.mark.parametrize(("version", "experiment"), [("1", ""), ("2", "slower")])
def test_the_same_weights_again(ran: Project, version: str, experiment: str) -> None:
    before = state(ran)
    tags = before[2][version]
    assert tags.get("vidpred.experiment", "") == experiment
    assert tags["vidpred.git_commit"] == before[1].strip()
    shown = ran.run("vidpred", "reproduce", f"models:/vidpred/{version}", "--dry-run")
    assert "warpmix.py changed since the commit" in shown
    assert ("train.learning_rate: 0.001 instead of the commit's 0.003" in shown) == bool(experiment)
    out = ran.run("vidpred", "reproduce", f"models:/vidpred/{version}", "--yes", "--json")
    told = json.loads(out[out.index("\n{\n") :])
    assert told["same"], out
    assert told["now"] == tags["vidpred.weights_sha256"]
    assert told["metrics"]
    assert all(then == now for then, now in told["metrics"].values())
    assert told["code"] == []
    assert left_behind(ran) == []
    assert state(ran) == before


def test_data_that_the_cache_lacks_is_pulled_or_made_again(ran: Project) -> None:
    """As after `dvc gc`, or on another machine."""
    cache, aside = ran.folder / ".dvc/cache", ran.folder.parent / "aside"
    ran.run("dvc", "remote", "add", "--local", "-d", "team", str(ran.folder.parent / "remote"))
    ran.run("dvc", "push", "--quiet")
    cache.rename(aside)
    try:
        pulled = ran.run("vidpred", "reproduce", "models:/vidpred/2", "--yes", "--no-evaluate")
        shutil.rmtree(cache)
        made = ran.run("vidpred", "reproduce", "models:/vidpred/2", "--yes", "--no-evaluate", "--no-pull")
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        aside.rename(cache)
    assert "from DVC's remote: data/" in pulled
    assert "stages.transcode" not in pulled
    assert "transcode: python -m stages.transcode" in made
    assert "equal" in pulled
    assert "equal" in made


def test_interrupted_it_leaves_nothing_behind(ran: Project) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = ran.start("vidpred", "reproduce", "models:/vidpred/1", "--yes")
        deadline = time.monotonic() + 300
        while not list((ran.folder / "runs/reproduce").glob("*/home/train/*")):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.2)
        os.kill(process.pid, number)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == code, out
        assert "Traceback" not in out
        assert left_behind(ran) == []


def test_a_registry_of_others_is_not_run(ran: Project) -> None:
    elsewhere = ran.folder.parent / "theirs.db"
    elsewhere.write_bytes((ran.folder / "runs/mlflow.db").read_bytes())
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{elsewhere}"}
    told = ran.run("vidpred", "reproduce", CHAMPION, "--yes", ok=False, **env)
    assert "--trust-registry" in told
    assert "python -m stages.train" in ran.run("vidpred", "reproduce", CHAMPION, "--dry-run", **env)
    told = ran.run("vidpred", "reproduce", CHAMPION, ok=False)  # nobody to ask
    assert "--yes" in told


def test_explained_and_compared(ran: Project, tmp_path: Path) -> None:
    page = tmp_path / "lineage.html"
    ran.run("vidpred", "explain", "models:/vidpred/2", "--html", str(page))
    assert "slower" in page.read_text()
    hops = {
        hop["name"]: hop for hop in json.loads(ran.run("vidpred", "explain", "models:/vidpred/2", "--json"))["hops"]
    }
    assert not [hop["name"] for hop in hops.values() if hop["unseen"]]
    assert hops["sweep"]["facts"]["MLflow run"]
    page = tmp_path / "diff.html"
    told = json.loads(
        ran.run("vidpred", "diff", "models:/vidpred/1", "models:/vidpred/2", "--json", "--html", str(page))
    )
    assert told["params"] == {"train.learning_rate": ["0.003", "0.001"]}
    assert {figure["name"]: figure for figure in told["figures"]}["perceptual_distance"]["interval"]
    assert page.read_text().count("data:image/gif") == 4


def test_verified_damaged_and_repaired(ran: Project) -> None:
    ran.run("git", "checkout", "--quiet", "params.yaml")  # the experiment's change: back to what `dvc repro` made
    ran.run("dvc", "repro", "register")
    ran.run("vidpred", "verify", "models:/vidpred/1")
    shard = next((ran.folder / "data/shards").glob("frames-*.npy"))
    content = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    told = ran.run("vidpred", "verify", "models:/vidpred/1", ok=False)
    assert f"data/shards/{shard.name} has changed" in told
    assert "dvc checkout --force data/shards" in told
    ran.run("dvc", "checkout", "--force", "data/shards")
    assert np.load(shard, mmap_mode="r").shape
    (ran.folder / "runs/mlflow.db").unlink()
    assert "--repair" in ran.run("vidpred", "verify", CHAMPION, ok=False)
    ran.run("vidpred", "verify", CHAMPION, "--repair")
    ran.run("vidpred", "verify", CHAMPION)
