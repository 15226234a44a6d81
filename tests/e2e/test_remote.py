"""A sweep as a job on a cluster elsewhere: its looker-on killed, sent away, coming back; stopped and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.e2e.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def cluster_home(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The `VIDPRED_HOME` of a cluster of two nodes, which is not the project's; the project knows its job server."""
    home = tmp_path_factory.mktemp("cluster-home")
    project.run(
        "vidpred", "cluster", "up", "--nodes", "2", "--cpus-per-node", "1", "--timeout", "300", VIDPRED_HOME=str(home)
    )
    try:
        state = json.loads((home / "cluster/default/state.json").read_text())
        project.env |= {
            "RAY_ADDRESS": f"http://127.0.0.1:{state['job_port']}",
            "RAY_AUTH_TOKEN_PATH": str(home / "cluster/default/token"),
        }
        project.edit(
            "params.yaml",
            {
                "resources": {"storage": str(tmp_path_factory.mktemp("storage"))},
                "tune": {"trials": 2, "steps": 400, "grace_steps": 20},
            },
        )
        project.run("dvc", "repro", "split", "flow")
        yield home
    finally:
        project.run("vidpred", "cluster", "down", VIDPRED_HOME=str(home))


def wait_for(ready: Callable[[], object], process: subprocess.Popen[str], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.2)


def jobs(project: Project) -> dict[str, str]:
    return dict(line.split() for line in project.run("vidpred", "cluster", "jobs").splitlines() if "-" in line)


def test_a_killed_looker_on_comes_back_to_the_running_job(project: Project, cluster_home: Path) -> None:
    first = project.start("dvc", "repro", "tune")
    wait_for(lambda: list(cluster_home.glob("tune/*/**/checkpoint_*")), first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    assert list(jobs(project).values()) == ["running"]

    told = project.run("dvc", "repro", "tune")
    (name,) = jobs(project)
    assert f"attached to job {name}" in told
    assert jobs(project) == {name: "succeeded"}
    trials = pd.read_parquet(project.folder / "data/tune/trials.parquet")
    assert len(trials) == 2
    assert yaml.safe_load((project.folder / "results/tune/best.yaml").read_text())["model"] in ("conv2d", "warpmix")
    record = project.folder / "runs/tune" / name.rpartition("-")[0]
    assert list(record.rglob("*.json")), "the record of the sweep must come too"
    assert not list(record.rglob("*.safetensors")), "checkpoints stay where they are"
    assert not list((project.folder / "runs").glob("results-*"))
    assert "didn't change" in project.run("dvc", "repro", "tune").splitlines()[-2]


def test_what_was_done_is_brought_and_not_done_again(project: Project) -> None:
    before = jobs(project)
    told = project.run("dvc", "repro", "--force", "--single-item", "tune")
    assert "has done it" in told
    assert jobs(project) == before


def test_ctrl_c_detaches_and_a_stopped_job_is_gone_on_with(project: Project, cluster_home: Path) -> None:
    project.edit("params.yaml", {"train": {"seed": 1}})
    known = set(cluster_home.glob("tune/*/**/checkpoint_*"))
    running = project.start("dvc", "repro", "tune")
    wait_for(lambda: set(cluster_home.glob("tune/*/**/checkpoint_*")) - known, running)
    os.killpg(running.pid, signal.SIGINT)
    told, _ = running.communicate(timeout=120)
    assert running.returncode != 0, "DVC must not take the stage for done"
    assert "`dvc repro` attaches again" in told
    (name,) = (name for name, state in jobs(project).items() if state == "running")
    assert name in told

    assert f"job {name} is stopped" in project.run("vidpred", "cluster", "stop-job")
    told = project.run("dvc", "repro", "tune")
    key = name.rpartition("-")[0]
    assert f"submitted job {key}-2" in told
    assert jobs(project)[f"{key}-2"] == "succeeded"
    assert len(pd.read_parquet(project.folder / "data/tune/trials.parquet")) == 2


def test_a_job_that_fails_says_why_in_one_line(project: Project) -> None:
    project.edit("params.yaml", {"tune": {"models": {"warpmix": {"config": {"width": [-8]}}}}})
    told = project.run("vidpred", "tune", ok=False)
    last = told.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "failed: " in last or "width" in last
