"""`dvc exp run`: one's own folder, by the queue and in a temporary clone, with what can be reused reused."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Project
from vidpred.data.encode import write_gif

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of somebody's own: GIFs in two folders, one cut short, one that is a text file, and notes."""
    import numpy as np

    folder = tmp_path_factory.mktemp("clips")
    y, x = np.mgrid[:40, :48]
    for i in range(24):
        waves = [128 + 100 * np.sin((x + i * 3 + (2 + i % 3) * t) / 5 + y / (4 + i)) for t in range(14)]
        frames = np.repeat(np.array(waves, np.uint8)[..., None], 3, axis=-1)
        path = folder / ("a" if i % 2 else "b") / f"wave{i}.gif"
        path.parent.mkdir(exist_ok=True)
        write_gif(path, frames, 10)
    whole = (folder / "b/wave0.gif").read_bytes()
    (folder / "cut.gif").write_bytes(whole[: len(whole) // 20])
    (folder / "text.gif").write_text("not a picture")
    (folder / "notes.txt").write_text("shot on Sunday")
    return folder


def figures(project: Project, name: str, path: str) -> dict:
    """A result of an experiment, from its commit."""
    return json.loads(project.run("git", "show", f"refs/exps/{_ref(project, name)}:results/{path}"))


def _ref(project: Project, name: str) -> str:
    refs = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    return next(ref.removeprefix("refs/exps/") for ref in refs if ref.endswith(f"/{name}"))


def test_own_clips_in_a_temporary_clone(project: Project, clips: Path) -> None:
    project.run("dvc", "exp", "run", "--temp", "--name", "mine", "-S", f"fetch.source={clips}")
    fetched = figures(project, "mine", "fetch/summary.json")
    transcoded = figures(project, "mine", "transcode/summary.json")
    assert fetched["inputs"] == transcoded["inputs"] == 27
    assert transcoded["kept"] == 24
    assert transcoded["kept"] + transcoded["dropped"] + transcoded["failed"] == 27
    assert sum(transcoded["reasons"].values()) == 3
    assert figures(project, "mine", "evaluate/metrics.json")["windows"] > 0
    # what survives is in the main checkout's runs/, not in the clone that is gone
    assert list((project.folder / "runs/train").glob("*/step-*"))
    assert (project.folder / "runs/mlflow.db").is_file()


def test_the_queue_runs_it_and_reuses_the_frames(project: Project, clips: Path) -> None:
    (cache,) = (project.folder / "runs/clips").iterdir()
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir() if path.name != ".lock"}
    changes = ("-S", f"fetch.source={clips}", "-S", "train.seed=1")
    project.run("dvc", "exp", "run", "--queue", "--name", "queued", *changes)
    project.run("dvc", "queue", "start")
    deadline = time.monotonic() + 600
    while "Running" in (status := project.run("dvc", "queue", "status")) or "Queued" in status:
        assert time.monotonic() < deadline, status
        time.sleep(2)
    assert "Success" in status, project.run("dvc", "queue", "logs", "queued")
    assert figures(project, "queued", "evaluate/metrics.json")["windows"] > 0
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir() if path.name != ".lock"} == before
