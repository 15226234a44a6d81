"""A small project that a leaderboard can be held in: moving digits of 32x32, a task and budgets that take seconds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vidpred.leaderboard.plan import Plan, make_plan

CHANGES: dict[str, dict[str, Any]] = {
    "transcode": {"height": 32, "width": 32},
    "train": {"batch_size": 2, "warmup_steps": 1, "evaluate_every": 100, "val_windows": 4, "precision": "float32"},
    "evaluate": {"windows_per_clip": 1, "pictures": 2, "batch_size": 4},
    "resources": {"threads": 1, "device": "cpu"},
}
PLAN: dict[str, Any] = {"models": ["conv2d"], "steps": 2, "seeds": 1, "rates": [1e-3], "jobs": 1}


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Threads and settings of MLflow that outlive no test."""
    before, threads = dict(os.environ), torch.get_num_threads()
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    yield
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without rows: making them takes seconds."""
    from vidpred.tracking import store

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        store.connect()
    return path


def make_project(folder: Path, *, root: Path, digits: Path, store: Path | None = None) -> Path:
    """A project folder as `dvc repro split` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    params = yaml.safe_load((root / "params.yaml").read_text())
    for section, values in CHANGES.items():
        params[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(root / "dvc.yaml", folder)
    shutil.copytree(digits / "shards", folder / "data/shards")
    shutil.copytree(digits / "split", folder / "data/split")
    meta = json.loads((folder / "data/shards/meta.json").read_text())
    meta["parameters"]["fit"] = "crop"  # transcode writes it, and model.json tells it
    (folder / "data/shards/meta.json").write_text(json.dumps(meta))
    (folder / "runs").mkdir()
    if store is not None:
        shutil.copyfile(store, folder / "runs/mlflow.db")
    return folder


@pytest.fixture
def project(tmp_path: Path, root: Path, digits: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, as the current folder."""
    folder = make_project(tmp_path / "project", root=root, digits=digits, store=empty_store)
    monkeypatch.delenv("VIDPRED_HOME", raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def board_held(tmp_path_factory: pytest.TempPathFactory, root: Path, digits: Path, empty_store: Path) -> Path:
    """A project whose leaderboard was held with the plan that `plan()` gives; to be copied, not changed."""
    from vidpred.leaderboard.board import make_board

    folder = make_project(tmp_path_factory.mktemp("held") / "project", root=root, digits=digits, store=empty_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VIDPRED_HOME", raising=False)
        patch.chdir(folder)
        make_board(make_plan(folder, **PLAN), folder / "leaderboard", command="vidpred leaderboard")
    return folder


@pytest.fixture
def done(project: Path, board_held: Path) -> Path:
    """The project, as the current folder, with its leaderboard held."""
    for name in ("runs/leaderboard", "leaderboard"):
        shutil.copytree(board_held / name, project / name)
    shutil.copyfile(board_held / "runs/mlflow.db", project / "runs/mlflow.db")
    return project


@pytest.fixture
def plan(project: Path) -> Callable[..., Plan]:
    """Plans of the project; one process, one seed and one learning rate unless told otherwise."""

    def make(**changes: Any) -> Plan:
        return make_plan(project, **PLAN | changes)

    return make
