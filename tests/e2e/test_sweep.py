"""Sweeps that lose nothing: kill -9 of all that takes part, in mid-sweep, and one identity in DVC, Ray and MLflow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from tests.e2e.conftest import Project
from tests.tracking.servers import Server, postgres

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

RATES = {"learning_rate": {"low": 1.0e-3, "high": 1.0e-2, "log": True}}
TUNE = {
    "models": {"conv2d": {"train": RATES}, "warpmix": {"config": {"width": [8, 12]}, "train": RATES}},
    "scheduler": "fifo",
    "trials": 5,
    "steps": 90,
    "grace_steps": 10,
}
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
OUTPUTS = ("data/tune/trials.parquet", "results/tune/best.yaml", "results/tune/summary.json")


def wait_for(ready: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 300) -> Any:
    """What `ready` gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert process.poll() is None, process.communicate()[0][-6000:]
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.1)
    return found


def end(process: subprocess.Popen[str]) -> None:
    """Kills a process and all below it."""
    if process.poll() is None:
        for member in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            if member.is_running():
                member.kill()
    process.communicate()


class Cluster:
    """A head and a second node on loopback, real raylets of one CPU each."""

    def __init__(self, project: Project) -> None:
        self._project = project
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        # sockets live below it, and their paths may hold some 100 bytes: pytest's folders are too deep
        self.temporary = Path(f"/tmp/ray-{os.getpid()}-{port}")
        self._common = ("--node-ip-address=127.0.0.1", "--num-cpus=1", "--block")
        self.head = project.start(
            "ray", "start", "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self.temporary}",
            *self._common, **QUIET,
        )  # fmt: skip
        wait_for(lambda: self._listens(port), self.head)
        self.node: subprocess.Popen[str] | None = None

    def _listens(self, port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def add_node(self) -> None:
        """Unless it is there."""
        if self.node is not None and self.node.poll() is not None:
            end(self.node)
            self.node = None
        if self.node is None:
            self.node = self._project.start("ray", "start", f"--address={self.address}", *self._common, **QUIET)
            wait_for(lambda: self.raylet() is not None, self.node)

    def raylet(self) -> psutil.Process | None:
        """Of the second node."""
        assert self.node is not None
        below = psutil.Process(self.node.pid).children(recursive=True)
        return next((one for one in below if one.name() == "raylet"), None)

    def close(self) -> None:
        for process in (self.node, self.head):
            if process is not None:
                end(process)
        shutil.rmtree(self.temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def ready(project: Project) -> Project:
    """Data and split are there."""
    project.edit("params.yaml", {"tune": TUNE})
    project.run("dvc", "repro", "split", "flow")
    return project


@pytest.fixture(scope="module")
def cluster(ready: Project) -> Iterator[Cluster]:
    one = Cluster(ready)
    try:
        yield one
    finally:
        one.close()


def outputs(project: Project) -> dict[str, bytes]:
    return {name: (project.folder / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def unbroken(ready: Project, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a sweep gives that nothing disturbs."""
    cluster.add_node()
    home = tmp_path_factory.mktemp("unbroken")
    ready.run("python", "-m", "stages.tune", VIDPRED_HOME=str(home), RAY_ADDRESS=cluster.address, **QUIET)
    return outputs(ready)


def records(home: Path) -> dict[int, dict[str, Any]]:
    """trial.json of all trials, with its `rows`."""
    found = {}
    for path in home.glob("tune/*/trials/*/trial.json"):
        lines = path.with_name("metrics.jsonl")
        whole = lines.read_text().splitlines(keepends=True) if lines.is_file() else []
        rows = [json.loads(line) for line in whole if line.endswith("\n")]
        found[int(path.parent.name)] = json.loads(path.read_text()) | {"rows": rows}
    return found


def running(home: Path, *, below: subprocess.Popen[str] | None = None) -> int | None:
    """The process of a trial that is half way; `below` one that started it, perhaps by others."""
    for record in records(home).values():
        rows = record["rows"]
        if record["status"] == "running" and rows and 10 < rows[-1]["step"] < TUNE["steps"] - 10:
            pid = int(rows[-1]["pid"])
            if psutil.pid_exists(pid) and (
                below is None or below.pid in {one.pid for one in psutil.Process(pid).parents()}
            ):
                return pid
    return None


def assert_one_story(home: Path, uri: str) -> None:
    """MLflow has a run a trial, ended as its record says, with the figures of the record, each once."""
    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("vidpred").experiment_id])
    told = records(home)
    assert len(told) == TUNE["trials"]
    [parent] = [run for run in found if run.data.tags["vidpred.stage"] == "tune"]
    trials = [run for run in found if run.data.tags["vidpred.stage"] == "trial"]
    assert parent.info.status == "FINISHED"
    assert Counter(run.data.tags["vidpred.key"] for run in trials) == {
        f"{parent.data.tags['vidpred.key']}-{number}": 1 for number in told
    }
    for run in trials:
        record = told[int(run.data.tags["vidpred.key"].rpartition("-")[2])]
        assert (run.info.status, record["status"]) == ("FINISHED", "finished")
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        for name in ("perceptual_distance", "loss"):
            history = client.get_metric_history(run.info.run_id, name)
            assert sorted((one.step, one.value) for one in history) == [(r["step"], r[name]) for r in record["rows"]]


CASES = [
    ("worker", "sqlite"), ("raylet", "sqlite"), ("driver", "sqlite"), ("server", "sqlite"),
    ("raylet", "postgres"), ("driver", "postgres"), ("server", "postgres"), ("server for good", "sqlite"),
]  # fmt: skip


@pytest.mark.parametrize(("victim", "database"), CASES)
def test_killed_in_mid_sweep_it_ends_as_if_nothing_had_been(
    victim: str,
    database: str,
    ready: Project,
    cluster: Cluster,
    unbroken: dict[str, bytes],
    tmp_path: Path,
    require: Callable[[str], str],
) -> None:
    cluster.add_node()
    home = tmp_path / "home"
    with ExitStack() as stack:
        if database == "postgres":
            backend = stack.enter_context(postgres(Path(require("postgres")).resolve().parent))
        else:
            backend = f"sqlite:///{tmp_path / 'mlflow.db'}"
        server = Server(tmp_path, backend)
        server.start()
        stack.callback(server.kill)
        env = {"VIDPRED_HOME": str(home), "RAY_ADDRESS": cluster.address, "MLFLOW_TRACKING_URI": server.uri, **QUIET}
        stage = ready.start("python", "-m", "stages.tune", **env)
        stack.callback(end, stage)
        if victim == "raylet":
            wait_for(lambda: running(home, below=cluster.node), stage)
            raylet = cluster.raylet()
            assert raylet is not None
            raylet.kill()
        else:
            pid = wait_for(lambda: running(home), stage)
            if victim == "worker":
                os.kill(pid, signal.SIGKILL)
            elif victim == "driver":
                os.kill(stage.pid, signal.SIGKILL)
                stage.wait(60)
            else:
                server.kill()
        if victim == "server":
            before = sum(len(record["rows"]) for record in records(home).values())
            wait_for(lambda: sum(len(record["rows"]) for record in records(home).values()) > before + 2, stage)
            server.start()
        if victim == "driver":
            told = ready.run("python", "-m", "stages.tune", **env)
            assert "going on with the sweep" in told
        else:
            told, _ = stage.communicate(timeout=900)
            assert stage.returncode == 0, told[-6000:]
        if victim == "server for good":
            assert "`vidpred sync` sends it" in told
            server.start()
            for _ in range(2):  # the second time there is nothing left to send
                assert f"{TUNE['trials']} trials are there" in ready.run("vidpred", "sync", **env)
        assert_one_story(home, server.uri)
    found = records(home)
    assert all(record["step"] == TUNE["steps"] for record in found.values())
    restarts = sum(record["restarts"] for record in found.values())
    assert (restarts > 0) == (victim in ("worker", "raylet", "driver"))
    assert outputs(ready) == unbroken, "the same figures and the same winner"


def test_dvc_and_the_sweep_agree_on_what_is_new(ready: Project) -> None:
    """Twice: nothing. A larger budget: the same sweep goes on. Another space: a new one. A second driver: refused."""
    small = {"trials": 2, "steps": 20, "models": {"conv2d": {"train": RATES}}}
    ready.edit("params.yaml", {"tune": TUNE | small})
    ready.run("dvc", "repro", "tune")
    sweeps = ready.folder / "runs/tune"
    [first] = [path.name for path in sweeps.iterdir()]
    assert "didn't change, skipping" in ready.run("dvc", "repro", "tune")

    before = records(ready.folder / "runs")
    ready.edit("params.yaml", {"tune": {"trials": 3}})
    assert "going on with the sweep" in ready.run("dvc", "repro", "tune")
    assert [path.name for path in sweeps.iterdir()] == [first]
    after = records(ready.folder / "runs")
    assert {number: after[number] for number in before} == before
    assert after[2]["status"] == "finished"

    kept = outputs(ready)
    shutil.rmtree(ready.folder / "data/tune")
    told = ready.run("vidpred", "tune")
    assert "has been run already" in told
    assert outputs(ready) == kept

    ready.edit("params.yaml", {"tune": {"steps": 400}})
    stage = ready.start("dvc", "repro", "tune")
    try:
        [second] = wait_for(lambda: {path.name for path in sweeps.iterdir()} - {first}, stage)
        wait_for(lambda: list((sweeps / second).glob("trials/*/metrics.jsonl")), stage)
        assert f"the sweep {second} is being run by process" in ready.run("vidpred", "tune", ok=False)
        os.killpg(stage.pid, signal.SIGINT)
        told, _ = stage.communicate(timeout=120)
        assert stage.returncode != 0
        assert "goes on from here" in told
    finally:
        end(stage)
    interrupted = {json.loads(path.read_text())["status"] for path in (sweeps / second).glob("trials/*/trial.json")}
    assert interrupted <= {"interrupted", "finished"}
    ready.edit("params.yaml", {"tune": {"steps": 20}})
    assert "has been run already" in ready.run("dvc", "repro", "--force", "tune")
