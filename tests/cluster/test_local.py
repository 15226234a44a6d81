"""`vidpred cluster` as a user types it: real raylets, who may use them, and that nothing is left."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NODES_OF_TASKS = """
import ray, sys, time
from vidpred.cluster.connect import connected
from vidpred.workspace import run_stage

def where():
    time.sleep(1)
    return ray.get_runtime_context().get_node_id()

def main():
    with connected():
        task = ray.remote(num_cpus=1)(where)
        print("NODES", *sorted(set(ray.get([task.remote() for _ in range(6)]))))

run_stage(main)
"""


def run(*command: str, home: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    hidden = ("RAY_", "VIDPRED_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    return subprocess.run(
        [sys.executable, "-c", *command],
        env=clean | {"VIDPRED_HOME": str(home), "HOME": str(home), "COLUMNS": "140"} | (env or {}),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def cluster(*arguments: str, home: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return run("from vidpred.cli import main; main()", "cluster", *arguments, home=home, env=env)


def exports_of(text: str) -> dict[str, str]:
    words = [shlex.split(line)[1] for line in text.splitlines() if line.startswith("export ")]
    return dict(word.split("=", 1) for word in words)


def state_of(home: Path, name: str = "default") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "cluster" / name / "state.json").read_text())
    return found


def processes_of(temporary: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("VIDPRED_CLUSTER") == temporary:
                found.append(process.name())
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def exports(home: Path) -> Iterator[dict[str, str]]:
    """Of a cluster of two nodes with a CPU each."""
    done = cluster("up", "--nodes", "2", "--cpus-per-node", "1", "--timeout", "300", home=home)
    assert done.returncode == 0, done.stderr
    temporary = state_of(home)["temporary"]
    yield exports_of(done.stdout)
    done = cluster("down", home=home)
    assert done.returncode == 0, done.stderr
    assert processes_of(temporary) == []
    assert not Path(temporary).exists()
    assert not (home / "cluster/default").exists()


def test_its_exports_lead_to_all_its_nodes(home: Path, exports: dict[str, str]) -> None:
    done = run(NODES_OF_TASKS, home=home, env=exports)
    assert done.returncode == 0, done.stderr
    seen = done.stdout.split("NODES ")[1].split()
    assert seen == sorted(node["node_id"] for node in state_of(home)["nodes"])
    assert stat.S_IMODE(Path(exports["RAY_AUTH_TOKEN_PATH"]).stat().st_mode) == 0o600


def test_the_token_alone_is_enough(home: Path, exports: dict[str, str]) -> None:
    env = {"RAY_ADDRESS": exports["RAY_ADDRESS"], "RAY_AUTH_TOKEN": Path(exports["RAY_AUTH_TOKEN_PATH"]).read_text()}
    assert run(NODES_OF_TASKS, home=home, env=env).returncode == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RAY_AUTH_TOKEN": "0" * 64}, "does not take this token"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, "RAY_AUTH_TOKEN_PATH=/nowhere/token cannot be read"),
        ({"RAY_AUTH_TOKEN_PATH": ""}, "wants a token"),
        ({"RAY_AUTH_MODE": "disabled"}, "wants a token"),
    ],
)
@pytest.mark.parametrize("way", ["driver", "jobs"])
def test_a_wrong_or_missing_token_is_refused_in_one_line(
    home: Path, exports: dict[str, str], change: dict[str, str], words: str, way: str
) -> None:
    env = {key: value for key, value in (exports | change).items() if value}
    if way == "driver":
        done = run(NODES_OF_TASKS, home=home, env=env)
    else:
        done = cluster("jobs", home=home, env=env | {"RAY_ADDRESS": f"http://127.0.0.1:{state_of(home)['job_port']}"})
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_a_lost_node_is_told_and_started_again(home: Path, exports: dict[str, str]) -> None:
    assert cluster("status", home=home).stdout.count("alive") == 2
    before = state_of(home)["nodes"][1]
    raylets = [one for one in psutil.Process(before["pid"]).children(recursive=True) if one.name() == "raylet"]
    os.kill(raylets[0].pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(before["pid"])] if psutil.pid_exists(before["pid"]) else [], timeout=60)
    deadline = time.monotonic() + 60
    while (told := cluster("status", home=home)).returncode == 0:
        assert time.monotonic() < deadline
    assert told.stdout.count("alive") == 1
    assert "vidpred cluster up --nodes 2" in told.stdout
    again = cluster("up", "--nodes", "2", "--timeout", "300", home=home)
    assert again.returncode == 0, again.stderr
    assert exports_of(again.stdout) == exports
    assert state_of(home)["nodes"][1]["node_id"] != before["node_id"]
    assert cluster("status", home=home).returncode == 0


def test_two_live_side_by_side(home: Path, exports: dict[str, str]) -> None:
    done = cluster("up", "--nodes", "1", "--cpus-per-node", "1", "--name", "other", "--timeout", "300", home=home)
    assert done.returncode == 0, done.stderr
    other = exports_of(done.stdout)
    assert set(other.values()).isdisjoint(set(exports.values()) - {"token"})
    assert run(NODES_OF_TASKS, home=home, env=other | {"RAY_ADDRESS": exports["RAY_ADDRESS"]}).returncode == 1
    assert cluster("down", "--name", "other", home=home).returncode == 0
    assert cluster("status", home=home).returncode == 0


def test_one_that_does_not_start_in_time_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    done = cluster("up", "--nodes", "1", "--timeout", "1", home=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "did not start within 1 s" in line
    assert "--timeout" in line
    assert "no cluster was started here" in cluster("status", home=tmp_path).stdout


def test_ray_that_does_not_start_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(NODES_OF_TASKS, home=tmp_path, env={"RAY_TMPDIR": str(tmp_path / "file")})
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "Ray does not start on this machine" in line
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def open_port() -> Iterator[int]:
    """Of a cluster that wants no token."""
    with socket.socket() as free, socket.socket() as also_free:
        free.bind(("", 0))
        also_free.bind(("", 0))
        port, client_port = free.getsockname()[1], also_free.getsockname()[1]
    temporary = f"/tmp/vp-open-{os.getpid()}"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    options = {
        "port": port, "num-cpus": 1, "include-dashboard": "false", "temp-dir": temporary,
        "ray-client-server-port": client_port, "min-worker-port": 0, "max-worker-port": 0,
        "dashboard-agent-listen-port": 0,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        + [f"--{key}={value}" for key, value in options.items()],
        env=clean | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "VIDPRED_CLUSTER": temporary},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not listens(port):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield port
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(60)
    for member in psutil.wait_procs(family, timeout=30)[1]:
        member.kill()
    shutil.rmtree(temporary, ignore_errors=True)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def outward_address() -> str | None:
    """An address of this machine that others may reach."""
    found = [one.address for group in psutil.net_if_addrs().values() for one in group if one.family == socket.AF_INET]
    return next((address for address in found if not address.startswith("127.")), None)


def test_a_cluster_open_to_everybody_is_refused_off_loopback(tmp_path: Path, open_port: int) -> None:
    address = outward_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    env = {"RAY_ADDRESS": f"{address}:{open_port}", "RAY_AUTH_MODE": "disabled"}
    done = run(NODES_OF_TASKS, home=tmp_path, env=env)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "wants no token" in line
    assert "VIDPRED_ALLOW_OPEN_RAY=1" in line
    allowed = run(NODES_OF_TASKS, home=tmp_path, env=env | {"VIDPRED_ALLOW_OPEN_RAY": "1"})
    assert allowed.returncode == 0, allowed.stderr
    on_loopback = run(NODES_OF_TASKS, home=tmp_path, env=env | {"RAY_ADDRESS": f"127.0.0.1:{open_port}"})
    assert on_loopback.returncode == 0, on_loopback.stderr
