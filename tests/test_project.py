"""The project's own files: what `make` says and does, what the lock pins, whether dvc.yaml names what is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from vidpred.cli import STAGES


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def bare(tmp_path: Path, root: Path) -> Path:
    """A folder that has been set up by nobody."""
    shutil.copy(root / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_help_explains_every_target(root: Path) -> None:
    shown = make(root).stdout
    targets = re.findall(r"^\.PHONY: (\S+)", (root / "Makefile").read_text(), re.MULTILINE)
    assert len(targets) > 8
    for target in targets:
        assert re.search(rf"make {target} +\w", shown), target


def test_python_that_is_too_old_is_one_line(bare: Path) -> None:
    old = script(bare / "old", "exit 1")
    done = make(bare, "setup", f"PYTHON={old}")
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if "Error" not in line] == [
        (
            f"error: vidpred needs Python 3.11 or later ({old}: missing or older): install one, or name it: "
            "make PYTHON=/path/to/python3.12"
        )
    ]


def test_python_without_venv_is_one_line(bare: Path) -> None:
    partial = script(bare / "partial", 'case "$2" in *ensurepip*) exit 1;; esac')
    done = make(bare, "setup", f"PYTHON={partial}")
    assert "has no venv module: install it" in done.stderr.splitlines()[0]


def test_set_up_that_was_interrupted_is_done_again_and_one_that_was_not_is_not(bare: Path) -> None:
    # stands in for an interpreter: makes a "virtual environment" whose pip fails for as long as `broken` is there
    pip = f'echo "$@" >> {bare}/calls; case "$*" in *"install"*) [ ! -e {bare}/broken ];; esac'
    python = script(
        bare / "python",
        f'[ "$1" = -m ] || exit 0\nmkdir -p .venv/bin\ncat > .venv/bin/python <<"END"\n#!/bin/sh\n{pip}\nEND\n'
        "chmod +x .venv/bin/python",
    )
    (bare / "broken").touch()
    assert make(bare, "setup", f"PYTHON={python}").returncode != 0
    (bare / "broken").unlink()
    assert make(bare, "setup", f"PYTHON={python}").returncode == 0
    calls = (bare / "calls").read_text()
    assert "-r requirements.lock" in calls
    assert "-e ." in calls
    assert make(bare, "setup", f"PYTHON={python}").returncode == 0
    assert (bare / "calls").read_text() == calls


def test_a_virtual_environment_of_a_project_that_was_moved_is_made_anew(bare: Path) -> None:
    environment = bare / ".venv/bin"
    environment.mkdir(parents=True)
    script(environment / "python", "exit 0")
    (bare / ".venv/.installed").write_text(f"{bare}\n")
    assert "Nothing to be done" in make(bare, "setup").stdout
    moved = bare.rename(f"{bare} moved")
    assert make(moved, "help").returncode == 0
    assert make(moved, "setup", "PYTHON=/none").returncode != 0
    assert (moved / ".venv/bin/python").exists()  # what cannot be made anew stays: seen from a container
    python = script(moved / "python", f'echo "$@" >> "{moved}/calls"')
    assert make(moved, "setup", f"PYTHON={python}").returncode == 0
    assert "-m venv --clear .venv" in (moved / "calls").read_text()
    assert (moved / ".venv/.installed").read_text() == f"{moved}\n"
    assert "Nothing to be done" in make(moved, "setup").stdout


def test_torch_is_cpu_or_left_out(bare: Path) -> None:
    assert "write TORCH=cpu" in make(bare, "setup", "TORCH=gpu").stderr
    assert "download.pytorch.org/whl/cpu" in make(bare, "--dry-run", "setup", "TORCH=cpu").stdout
    assert "download.pytorch.org" not in make(bare, "--dry-run", "setup").stdout


def test_lock_pins_versions_that_every_machine_can_have(root: Path) -> None:
    lock = (root / "requirements.lock").read_text()
    pins = [line for line in lock.splitlines() if line and not line.lstrip().startswith("#")]
    assert "torch==2.13.0" in pins
    for pin in pins:
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==[0-9][a-zA-Z0-9.]*( ; .+)?$", pin), pin
    assert not [pin for pin in pins if pin.startswith(("nvidia-", "cuda-", "triton"))]


def test_lock_holds_every_requirement_of_the_project(root: Path) -> None:
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]
    names = {re.split(r"[\[<>=~; ]", requirement)[0].lower().replace("_", "-") for requirement in wanted} - {"vidpred"}
    locked = set(re.findall(r"^([a-z0-9._-]+)", (root / "requirements.lock").read_text(), re.MULTILINE))
    assert names - locked == set()


@pytest.fixture(scope="module")
def stages(root: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    return found


def test_every_stage_of_the_command_line_is_in_dvc_yaml(stages: dict[str, dict[str, Any]]) -> None:
    assert [name for name in stages if name in STAGES] == list(STAGES)


def test_stages_depend_on_files_that_are_there_or_are_made(stages: dict[str, dict[str, Any]], root: Path) -> None:
    made = {
        path
        for spec in stages.values()
        for kind in ("outs", "metrics", "plots")
        for entry in spec.get(kind, [])
        for path in (entry if isinstance(entry, dict) else [entry])
    }
    for name, spec in stages.items():
        assert spec["cmd"] == f"python -m stages.{name}"
        for path in spec["deps"]:
            known = path in made or any(path.startswith(f"{out}/") for out in made)
            assert known or "${" in path or (root / path).exists(), f"{name} depends on {path}"


def test_stages_depend_on_parameters_that_are_there(stages: dict[str, dict[str, Any]], root: Path) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    for spec in stages.values():
        for name in spec["params"]:
            value: Any = params
            for part in name.split("."):
                value = value[part]
        assert "resources" not in spec["params"]
