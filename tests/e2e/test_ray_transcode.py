"""Transcode on Ray nodes: the bytes of the local engine, whichever way files go and whoever is lost on the way."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from moto.server import ThreadedMotoServer

from vidpred.config import FetchParams
from vidpred.data import encode, launch
from vidpred.data.fetch import fetch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAMS = Path(sys.executable).parent
PARAMS = {"height": 32, "width": 32, "buckets": 3}


def movie(seed: int, frames: int, side: int = 32) -> np.ndarray:
    grey = np.random.default_rng(seed).integers(0, 8, (frames, side, side, 1), dtype=np.uint8) * 30
    return grey.repeat(3, axis=-1)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny GIFs, videos of their own process, a long one, short, doubled and broken ones: as fetch leaves them."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(24):
        encode.write_gif(folder / f"tiny{seed}.gif", movie(seed, 7 + seed % 5), 10)
    encode.write_mp4(folder / "video0.mp4", movie(50, 200, 160), 10)
    first = (folder / "video0.mp4").read_bytes()
    assert len(first) > 1 << 20  # too large to travel with its task
    for number in range(1, 8):  # the same pictures in other bytes: an empty box behind
        (folder / f"video{number}.mp4").write_bytes(first + (8 + number).to_bytes(4) + b"free" + bytes(number))
    encode.write_mp4(folder / "long.mp4", movie(51, 1500, 48), 25)
    encode.write_gif(folder / "short.gif", movie(52, 3), 10)
    shutil.copy(folder / "tiny0.gif", folder / "twin.gif")
    (folder / "cut.gif").write_bytes((folder / "tiny5.gif").read_bytes()[:1500])
    (folder / "cut.mp4").write_bytes(first[: len(first) // 2])
    (folder / "text.gif").write_text("hello")
    out = tmp_path_factory.mktemp("raw")
    fetch(FetchParams(source=str(folder)), out, tmp_path_factory.mktemp("downloads"), workers=2)
    return out


class Place:
    """A project where only transcode runs, with a cache of its own."""

    def __init__(self, folder: Path, raw: Path, root: Path, **params: object) -> None:
        self.folder = folder
        (folder / "data").mkdir(parents=True)
        (folder / "data/raw").symlink_to(raw)
        (folder / "data/ffmpeg.txt").write_text(launch.ffmpeg_version())
        values = yaml.safe_load((root / "params.yaml").read_text())
        values["transcode"] |= PARAMS | params
        (folder / "params.yaml").write_text(yaml.safe_dump(values))
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "VIDPRED_", "AWS_"))}
        self.env |= {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(root)}
        self.env |= {"VIDPRED_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}

    def start(self, env: dict[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "stages.transcode"],
            cwd=self.folder,
            env=self.env | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, env: dict[str, str], *, status: int = 0) -> str:
        running = self.start(env)
        told, _ = running.communicate(timeout=120)
        assert running.returncode == status, told
        return told

    def shards(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / "data/shards").iterdir())}

    def frames(self) -> dict[str, bytes]:
        """What the cache holds, without locks."""
        kept = (path for path in (self.folder / "home/clips").glob("*/*") if not path.name.startswith("."))
        return {path.name: path.read_bytes() for path in kept}

    def summary(self) -> dict[str, object]:
        return json.loads((self.folder / "results/transcode/summary.json").read_text())


@pytest.fixture(scope="module")
def local(raw: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """What the local engine makes."""
    place = Place(tmp_path_factory.mktemp("local") / "project", raw, root)
    place.run({})
    summary = place.summary()
    assert (summary["inputs"], summary["kept"], summary["dropped"], summary["failed"]) == (38, 33, 2, 3)
    return place


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment of an S3 server on loopback with a bucket."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket="clips")
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


WATCH = """
import sys, time
from pathlib import Path
import ray

ray.init(address=sys.argv[1], log_to_driver=False)
while True:
    Path(sys.argv[2]).write_text(str(int(ray.cluster_resources().get("CPU", 0))))
    time.sleep(0.1)
"""


class Cluster:
    """Raylets on loopback, which want a token of whoever speaks to them."""

    def __init__(self, **env: str) -> None:
        # sockets live below it, and their paths may hold some 100 bytes: pytest's folders are too deep
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        hidden = ("RAY_", "VIDPRED_", "AWS_", "PYTHONPATH")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        self.env |= {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"} | env
        self.env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.env |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        self.env["TMPDIR"] = str(self.folder)
        self.env["RAY_health_check_period_ms"] = "1000"  # a node is lost after five of them
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.nodes: dict[subprocess.Popen[bytes], int] = {}
        """With the CPUs of each."""
        head = self.start("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self.folder}")
        wait_for(lambda: _listens(port), head)
        command = [sys.executable, "-c", WATCH, self.address, str(self.folder / "cpus")]
        self.watch = subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self, *options: str, cpus: int = 1) -> subprocess.Popen[bytes]:
        """Starts a node."""
        options = options or (f"--address={self.address}",)
        command = ["ray", "start", *options, "--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", "--block"]
        command.append("--object-store-memory=100000000")
        node = subprocess.Popen(
            command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.nodes[node] = cpus
        return node

    def ready(self) -> None:
        """Waits until every node has joined, and those that were killed are known to be gone."""
        told, expected = self.folder / "cpus", str(sum(self.nodes.values()))
        wait_for(lambda: told.is_file() and told.read_text() == expected, self.watch)

    def driver(self) -> dict[str, str]:
        """The environment of a stage that is to work here."""
        ours = ("RAY_", "AWS_")
        return {key: value for key, value in self.env.items() if key.startswith(ours)} | {"RAY_ADDRESS": self.address}

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """kill -9 of a raylet, its workers and their ffmpeg."""
        for process in family(node):
            if process.is_running():
                process.kill()
        node.wait()
        del self.nodes[node]

    def stop(self) -> None:
        self.watch.kill()
        self.watch.wait()
        for node in reversed(list(self.nodes)):
            self.kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def decoders(node: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The ffmpeg that run on a node."""
    found = []
    for process in family(node):
        try:
            if "-filter_complex_threads" in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for(ready: Callable[[], object], process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.stdout.read() if process.stdout else "it ended"
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def cluster(s3: dict[str, str]) -> Iterator[Cluster]:
    """Two nodes of one CPU each."""
    started = Cluster(**s3)
    started.start()
    started.ready()
    yield started
    started.stop()


@pytest.mark.parametrize("way", ["ray", "folder", "s3"])
def test_two_nodes_make_the_bytes_that_one_machine_makes(
    way: str, cluster: Cluster, local: Place, raw: Path, root: Path, tmp_path: Path
) -> None:
    storage = {"ray": None, "folder": str(tmp_path / "shared"), "s3": "s3://clips/two/nodes"}[way]
    place = Place(tmp_path / "project", raw, root, engine="ray", storage=storage)
    running = place.start(cluster.driver())
    busy = set()
    while running.poll() is None:
        busy |= {number for number, node in enumerate(cluster.nodes) if decoders(node)}
        time.sleep(0.05)
    told, _ = running.communicate()
    assert running.returncode == 0, told
    assert f"using the Ray cluster at {cluster.address}" in told
    assert busy == {0, 1}
    assert place.shards() == local.shards()
    assert place.frames() == local.frames()
    assert place.summary() == local.summary()
    if storage is None:
        return
    assert f"shards are at {storage}/shards/" in told
    if way == "folder":
        (copied,) = (tmp_path / "shared/shards").iterdir()
        assert {path.name: path.read_bytes() for path in copied.iterdir()} == local.shards()
    # another machine, without a cluster: frames come from the storage
    again = Place(tmp_path / "again", raw, root, engine="ray", storage=storage)
    told = again.run(cluster.driver() | {"RAY_ADDRESS": "127.0.0.1:1"})
    assert f"37 of 37 sources were done, in {storage}" in told
    assert again.shards() == local.shards()
    assert again.frames() == local.frames()


@pytest.mark.parametrize("storage", [None, "s3://clips/lost"])
def test_a_lost_node_loses_no_data(
    storage: str | None, cluster: Cluster, local: Place, raw: Path, root: Path, tmp_path: Path
) -> None:
    doomed = cluster.start(cpus=2)
    cluster.ready()
    place = Place(tmp_path / "project", raw, root, engine="ray", storage=storage)
    running = place.start(cluster.driver())
    wait_for(lambda: decoders(doomed), running)
    cluster.kill(doomed)
    told, _ = running.communicate(timeout=120)
    assert running.returncode == 0, told
    assert place.shards() == local.shards()
    assert place.frames() == local.frames()
    assert place.summary() == local.summary()


def test_a_node_with_another_ffmpeg_is_named_in_one_line(raw: Path, root: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    (ours / "ffmpeg").symlink_to(launch.ffmpeg_binary())
    (theirs / "ffmpeg").write_text("#!/bin/sh\necho ffmpeg version 0.1 of nobody\n")
    (theirs / "ffmpeg").chmod(0o755)
    odd = Cluster(PATH=os.pathsep.join((str(theirs), str(PROGRAMS), os.environ["PATH"])))
    try:
        place = Place(tmp_path / "project", raw, root, engine="ray", ffmpeg="system")
        path = os.pathsep.join((str(ours), str(PROGRAMS), os.environ["PATH"]))
        told = place.run(odd.driver() | {"PATH": path}, status=1)
        assert told.splitlines()[-1].startswith(f"error: node {socket.gethostname()} (")
        assert f"this machine has ffmpeg 0.1, the plan is for {launch.ffmpeg_version()}: every machine needs" in told
        assert "Traceback" not in told
    finally:
        odd.stop()


def test_ctrl_c_ends_at_once_and_the_next_run_goes_on(
    cluster: Cluster, local: Place, raw: Path, root: Path, tmp_path: Path
) -> None:
    place = Place(tmp_path / "project", raw, root, engine="ray")
    running = place.start(cluster.driver())
    wait_for(lambda: any(name.endswith(".json") for name in place.frames()), running)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    pressed = time.monotonic()
    told, _ = running.communicate(timeout=60)
    assert time.monotonic() - pressed < 10
    assert running.returncode == 130, told
    assert told.splitlines()[-1] == "warning: interrupted; `dvc repro` goes on from here"
    wait_for(lambda: not any(decoders(node) for node in cluster.nodes), cluster.watch)
    done = len(place.frames())
    assert 0 < done < len(local.frames())
    place.run(cluster.driver())
    assert place.shards() == local.shards()
