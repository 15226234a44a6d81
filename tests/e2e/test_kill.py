"""Kill drills: what is killed goes on, and ends in the weights of a run that was never broken."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.e2e.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

WEIGHTS = "models/trained/model.safetensors"


@pytest.fixture(scope="module")
def unbroken(project: Project) -> str:
    """A run of the pipeline up to train that nothing disturbed; the sha256 of its weights."""
    project.edit("params.yaml", {"train": {"steps": 300}, "resources": {"checkpoint_every": 10}})
    project.run("dvc", "repro", "train")
    return sha256(project)


def sha256(project: Project) -> str:
    return hashlib.sha256((project.folder / WEIGHTS).read_bytes()).hexdigest()


def forget(project: Project) -> None:
    """As if train had never run: no outputs, no checkpoints, and neither lock file nor run cache remembers it."""
    for folder in ("models/trained", "runs/train", ".dvc/cache/runs"):
        shutil.rmtree(project.folder / folder, ignore_errors=True)
    lock = project.folder / "dvc.lock"
    remembered = yaml.safe_load(lock.read_text())
    remembered["stages"].pop("train", None)
    lock.write_text(yaml.safe_dump(remembered))


def checkpoints(project: Project) -> list[Path]:
    return sorted((project.folder / "runs/train").glob("*/step-*"))


def trainer(of: psutil.Process) -> psutil.Process:
    return next(p for p in of.children(recursive=True) if "stages.train" in " ".join(p.cmdline()) and not p.children())


@pytest.mark.parametrize("victim", ["train", "dvc", "both"])
def test_killed_half_way_it_goes_on_to_the_same_bits(project: Project, unbroken: str, victim: str) -> None:
    forget(project)
    running = project.start("dvc", "repro", "train")
    try:
        deadline = time.monotonic() + 300
        while len(checkpoints(project)) < 2:
            assert running.poll() is None, running.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        dvc = psutil.Process(running.pid)
        train = trainer(dvc)
        if victim in ("dvc", "both"):
            os.kill(dvc.pid, signal.SIGKILL)
        if victim in ("train", "both"):
            os.kill(train.pid, signal.SIGKILL)
        running.wait(60)
        reached = checkpoints(project)[-1].name
        assert reached < "step-00000300"
        told = project.run("dvc", "repro", "train")
        assert "going on from step" in told or "in use by process" in told
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.stdout.close()
    assert sha256(project) == unbroken


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(project: Project, unbroken: str) -> None:
    forget(project)
    running = project.start("dvc", "repro", "train")
    deadline = time.monotonic() + 300
    while not checkpoints(project):
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    told, _ = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "goes on from" in told
    project.run("dvc", "repro", "train")
    assert sha256(project) == unbroken
