"""A project of its own for each end-to-end test: a clone as a user would have, with a smaller budget."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SMALL = {
    "train": {"steps": 40, "batch_size": 8, "evaluate_every": 20, "val_windows": 16},
    "tune": {
        "models": {"conv2d": {}, "warpmix": {"config": {"width": [8, 12]}}},
        "trials": 3,
        "steps": 6,
        "grace_steps": 3,
    },
    "evaluate": {"rollout": 3, "pictures": 2, "windows_per_clip": 2},
    "transcode": {"height": 32, "width": 32},
}
DIGITS = {"size": 32, "digit": 16, "frames": 12, "groups": 120, "clips_per_group": 1, "speed": [1.0, 3.0]}


class Project:
    """A checkout, and commands run in it with this environment's programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ours = str(Path(sys.executable).parent)
        hidden = ("VIDPRED_HOME", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "PYTHONPATH", "DVC_")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        self.env |= {"PATH": f"{ours}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Starts a command in a process group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.env | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *command: str, ok: bool = True, **env: str) -> str:
        """Runs a command and returns what it printed.

        With `ok`, fails where the command does; without, where it does not.
        """
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
        assert (done.returncode == 0) == ok, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}"
        return done.stdout

    def edit(self, path: str, changes: dict[str, object]) -> None:
        """Merges values into a YAML file."""
        target = self.folder / path
        target.write_text(yaml.safe_dump(_merged(yaml.safe_load(target.read_text()), changes), sort_keys=False))


def _merged(old: object, new: object) -> object:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {k: _merged(old.get(k), v) if k != "models" else v for k, v in new.items()}


def clone(root: Path, folder: Path) -> Project:
    """The files of the project as they are now, committed to a repository of their own."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, text=True, capture_output=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        if (root / name).is_file() and not name.startswith(("dvc.lock", "results/", "tests/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    project = Project(folder)
    project.run("git", "init", "--quiet", "-b", "main")
    project.run("git", "config", "user.email", "test@example.org")
    project.run("git", "config", "user.name", "test")
    project.edit("params.yaml", SMALL)
    project.edit("datasets/moving_digits.yaml", DIGITS)
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "-m", "a small budget")
    return project


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone with nothing run yet; one a module."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return clone(root, tmp_path_factory.mktemp("project"))
