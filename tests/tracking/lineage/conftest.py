"""A small project that has been trained and judged, in a git repository as a user has one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.tracking.conftest import Project

PARAMS = """fetch: {source: clips}
train: {model: conv2d, steps: 20}
tune: {models: {}}
"""
STAGES = """stages:
  train:
    cmd: python -m stages.train
    deps: [vidpred/net.py]
    outs: [models/trained]
  register:
    cmd: python -m stages.register
    deps: [models/trained]
    outs: [receipt.json]
"""


def git(folder: Path, *arguments: str) -> str:
    """Runs git as somebody."""
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Committed, with data and results that git ignores, and the current folder."""
    folder = project.folder
    for name, text in {
        "params.yaml": PARAMS,
        "dvc.yaml": STAGES,
        "requirements.lock": "torch==2.13.0\n",
        "vidpred/net.py": "width = 8\n",
        ".gitignore": "/shards\n/split\n/raw\n/model-*\n/pictures\n/secret.txt\n",
        "secret.txt": "password",
        "deploy/server.env": "PASSWORD=old\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "init", "--quiet", "-b", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "all of it")
    git(folder, "remote", "add", "origin", "https://anna:token@git.example.org/anna/clips.git?key=1")
    monkeypatch.chdir(folder)
    return project
