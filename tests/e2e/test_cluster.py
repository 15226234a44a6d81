"""The sweep on a Ray cluster that is there already, and one whose driver is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.e2e.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def cluster(project: Project) -> Iterator[str]:
    """A head and a second raylet on loopback, of one CPU each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    # sockets live below it, and their paths may hold some 100 bytes: pytest's folders are too deep
    temporary = Path(f"/tmp/ray-{os.getpid()}")
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    common = ("--node-ip-address=127.0.0.1", "--num-cpus=1", "--block")
    started = [
        project.start(
            "ray", "start", "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={temporary}", *common,
            **quiet,
        )
    ]  # fmt: skip
    _wait_for(lambda: _listens(port), started[0])
    started.append(project.start("ray", "start", f"--address={address}", *common, **quiet))
    project.env |= quiet
    project.run("vidpred", "cluster", "wait", "--nodes", "2", RAY_ADDRESS=address)
    yield address
    for process in reversed(started):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            if member.is_running():
                member.kill()
        process.communicate()
    shutil.rmtree(temporary, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(ready: object, process: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.1)


def test_the_sweep_runs_where_ray_is(project: Project, cluster: str) -> None:
    told = project.run("dvc", "repro", "tune", RAY_ADDRESS=cluster)
    assert f"using the Ray cluster at {cluster}" in told
    summary = json.loads((project.folder / "results/tune/summary.json").read_text())
    assert summary["trials"] == 3
    assert summary["failed"] == 0
    assert _listens(int(cluster.split(":")[1])), "the stage must leave a cluster that it did not start"


def test_a_sweep_whose_driver_was_killed_is_gone_on_with(project: Project) -> None:
    project.edit("params.yaml", {"tune": {"steps": 60, "grace_steps": 10}})
    project.run("dvc", "repro", "split", "flow")
    storage = project.folder / "runs/tune"
    before = set(storage.glob("*/*/checkpoint_*"))
    running = project.start("python", "-m", "stages.tune")
    _wait_for(lambda: set(storage.glob("*/*/checkpoint_*")) - before, running)
    family = psutil.Process(running.pid).children(recursive=True)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)
    psutil.wait_procs(family, timeout=60)  # Ray's own processes notice that their driver is gone
    told = project.run("dvc", "repro", "tune")
    assert "going on with the sweep" in told
    trials = pd.read_parquet(project.folder / "data/tune/trials.parquet")
    assert len(trials) == 3
    assert trials["error"].eq("").all()
    assert trials["step"].max() == 60
