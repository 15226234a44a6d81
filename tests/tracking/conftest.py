"""An MLflow store of each kind, and a small project that has been trained and judged."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vidpred.config import FlowParams
from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.data.split import Split, write_split
from vidpred.evaluation.intervals import beats, paired_gain, why_not
from vidpred.evaluation.scoring import score_model
from vidpred.models import zoo
from vidpred.models.files import load_model, save_model
from vidpred.tracking import store
from vidpred.tracking.gate import Bench
from vidpred.tracking.registry import register
from vidpred.types import Segment, Task, Window

TASK = Task(context=3, horizon=1, height=16, width=16)
GROUPS = 30
FRAMES = 8


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No store of the machine's own, one thread for models this small, and no setting that outlives the test."""
    before, threads = dict(os.environ), torch.get_num_threads()
    torch.set_num_threads(1)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    monkeypatch.chdir(tmp_path)
    yield
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables without rows: making them takes two seconds."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        patch.chdir(path.parent)
        store.connect()
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> Path:
    """`VIDPRED_HOME` with the default store, below a name with a space."""
    folder = tmp_path / "the home"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    monkeypatch.setenv("VIDPRED_HOME", str(folder))
    return folder


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextmanager
def serving(folder: Path, backend: str) -> Iterator[str]:
    """A real MLflow server on loopback, ended with all its processes."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", backend, "--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | quiet
    uri = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("wb") as told:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=told, stderr=told, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 90
            while not answers(uri):
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the MLflow server did not start: {(folder / 'server.log').read_text()[-2000:]}")
                time.sleep(0.2)
            yield uri
        finally:
            with suppress(ProcessLookupError):  # it has died by itself, which is told above
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def answers(uri: str) -> bool:
    """Whether a server says that it is well."""
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    """The address of an MLflow server with an SQLite database."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    with serving(folder, f"sqlite:///{folder / 'mlflow.db'}") as uri:
        yield uri


def _shards(folder: Path, *, seed: int) -> Shards:
    """Groups of one clip each: a bright square on black that moves to the right, one pixel a frame."""
    rng = np.random.default_rng(seed)
    clips = []
    raw = folder / "raw"
    raw.mkdir(parents=True)
    for number in range(GROUPS):
        frames = np.zeros((FRAMES, 16, 16, 3), np.uint8)
        top, left, level = *rng.integers(0, 4, 2), rng.integers(180, 220)
        for i in range(FRAMES):
            frames[i, top : top + 5, left + i : left + i + 4] = level
        path = raw / f"{number}.rgb"
        path.write_bytes(frames.tobytes())
        sha256 = hashlib.sha256(f"{seed} {number}".encode()).hexdigest()  # a clip's id is made of it
        clips.append(
            RawClip(
                source=f"{number}.gif",
                sha256=sha256,
                key=sha256,
                number=0,
                group=f"set{seed}-{number}",
                label="",
                fps=10.0,
                motion=1.0,
                frames=path,
                length=FRAMES,
            )
        )
    write_shards(folder / "shards", clips, [], height=16, width=16, fps=10.0, buckets=2, parameters={}, ffmpeg="x")
    return Shards(folder / "shards")


class Project:
    """Shards and a split, and models on them."""

    def __init__(self, folder: Path, *, seed: int = 0, test_from: int = 5) -> None:
        self.folder = folder
        self.shards = _shards(folder, seed=seed)
        rows = [Segment(row, 0, FRAMES) for row in range(GROUPS)]
        # by the number in the group's name, which the index does not keep in order
        rows.sort(key=lambda s: int(self.shards.clips[s.clip].group.rpartition("-")[2]))
        split: Split = {
            "train": rows[: test_from - 1],
            "val": rows[test_from - 1 : test_from],
            "test": rows[test_from:],
        }
        self.split = folder / "split"
        write_split(self.split, split)
        self.windows = [Window(s.clip, start) for s in sorted(split["test"], key=lambda s: s.clip) for start in (0, 3)]

    def model(self, good: float = 1.0, *, task: Task = TASK, fps: float = 10.0, fit: str = "crop") -> Path:
        """A folder of a model that predicts the motion by a share `good`: at 0 it copies, at 1 it is right."""
        folder = self.folder / f"model-{good}-{task.context}"
        config = {"variant": "seed"}
        built = zoo.build("conv2d", config, task)
        kernel, bias = built.parameters()
        with torch.no_grad():
            kernel.zero_()
            bias.zero_()
            for colour in range(3):
                last = (task.context - 1) * 3 + colour
                kernel[colour, last, 1, 1] = 1 - good
                kernel[colour, last, 1, 0] = good
        info = {"data_id": self.shards.data_id, "fps": fps, "fit": fit}
        save_model(folder, built, name="conv2d", config=config, task=task, info=info)
        (folder / "metrics.jsonl").write_text('{"step": 10, "loss": 0.5}\n{"step": 20, "loss": 0.25}\n')
        return folder

    def bench(self, folder: Path) -> Bench:
        """The evaluation of a model."""
        model, info = load_model(folder)
        task, flow = Task(**info["task"]), FlowParams()
        copy_last = zoo.build("copy_last", {}, task).eval()
        mine, copied = (score_model(one, self.shards, self.windows, task=task, flow=flow) for one in (model, copy_last))
        gain = paired_gain(mine["perceptual_distance"], copied["perceptual_distance"], mine["group"])
        tables = {"conv2d": mine, "copy_last": copied}
        means = {n: {"perceptual_distance": float(t["perceptual_distance"].mean())} for n, t in tables.items()}
        metrics = {
            "split": "group",
            "test": means,
            "over_copy_last": gain,
            "beats_copy_last": beats(gain),
            "why_not": why_not(gain),
        }
        return Bench(
            info=info, metrics=metrics, windows=mine, shards=self.shards, split=self.split, flow=flow, batch_size=32,
            crop=None, device=torch.device("cpu"),
        )  # fmt: skip

    def pictures(self, *, colour: bytes = b"red") -> Path:
        """A folder as `evaluate` makes it."""
        folder = self.folder / "pictures"
        folder.mkdir(exist_ok=True)
        (folder / "0.png").write_bytes(colour)
        (folder / "pictures.json").write_text("[]\n")
        return folder

    def register(self, good: float = 1.0, *, changed: Mapping[str, Any] | None = None, **model: Any) -> dict[str, Any]:
        """Trains nothing, judges and registers; gives the receipt.

        Args:
            good: As in `model`, which also takes `model`.
            changed: What the evaluation says instead.
        """
        folder = self.model(good, **model)
        bench = self.bench(folder)
        return register(
            folder,
            name="vidpred",
            run_key=f"key-{folder.name}",
            bench=replace(bench, metrics={**bench.metrics, **(changed or {})}),
            pictures=self.pictures(),
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with 5 groups to train on and 25 to judge by."""
    return Project(tmp_path / "project")


@pytest.fixture
def new_project(tmp_path: Path) -> Callable[..., Project]:
    """Makes further projects, by name."""
    return lambda name, **options: Project(tmp_path / name, **options)
