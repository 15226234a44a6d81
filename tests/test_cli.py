"""The command line as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vidpred import __version__
from vidpred.cli import STAGES

HEAVY = ("cv2", "jinja2", "matplotlib", "mlflow", "numpy", "pandas", "pyarrow", "ray", "sklearn", "torch")
ROOT = str(Path(__file__).parents[1])
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def vidpred(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs the command in a folder, with no settings of this machine."""
    clean = {k: v for k, v in os.environ.items() if k not in ("VIDPRED_HOME", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return subprocess.run(
        [sys.executable, "-c", "from vidpred.cli import main; main()", *arguments],
        cwd=cwd,
        env=clean | {"COLUMNS": "140", "PYTHONPATH": ROOT} | (env or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def only_line(text: str) -> str:
    """The one line of a message."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_version(tmp_path: Path) -> None:
    done = vidpred("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, f"vidpred {__version__}")


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from vidpred.cli import main\n"
        "sys.argv = ['vidpred', '--help']\n"
        "try: main()\n"
        "finally: print('LOADED', sorted(m for m in sys.modules if '.' not in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "140"},
    )
    shown, loaded = done.stdout.split("LOADED")
    for command in ("predict", "models", "doctor", "clean", "summary", "ui", *STAGES):
        assert re.search(rf"\b{command}\b", shown), command
    for module in HEAVY:
        assert f"'{module}'" not in loaded, module


@pytest.mark.parametrize("command", ["predict", "models", "doctor", "clean", "summary", "ui", *STAGES])
def test_every_help_has_an_example(command: str, tmp_path: Path) -> None:
    done = vidpred(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert re.search(rf"Examples?:.*vidpred {command}", ANSI.sub("", done.stdout))


def test_unknown_command_gets_the_nearest_one(tmp_path: Path) -> None:
    done = vidpred("predikt", cwd=tmp_path)
    assert done.returncode == 2
    assert "'predict'" in only_line(done.stderr)


def test_unknown_option_is_one_line(tmp_path: Path) -> None:
    done = vidpred("models", "--jsn", cwd=tmp_path)
    assert done.returncode == 2
    assert "--jsn" in only_line(done.stderr)


def test_shell_completion_knows_the_commands(tmp_path: Path) -> None:
    env = {"PYTHONPATH": ROOT, "_VIDPRED_COMPLETE": "complete_bash", "COMP_WORDS": "vidpred tr", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['vidpred']; from vidpred.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["transcode", "train"]


@pytest.mark.parametrize("command", ["summary", "train", "clean"])
def test_outside_a_project_says_so(command: str, tmp_path: Path) -> None:
    done = vidpred(command, cwd=tmp_path)
    assert done.returncode == 1
    assert "is not inside a vidpred project" in only_line(done.stderr)


def test_a_file_that_cannot_be_predicted_is_one_line(tmp_path: Path) -> None:
    done = vidpred("predict", "no/such/model", "missing.gif", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "missing.gif" in " ".join(done.stderr.split())


def test_models_as_json_counts_parameters(tmp_path: Path) -> None:
    done = vidpred("models", "--json", cwd=tmp_path)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (rows["copy_last"]["parameters"], rows["copy_last"]["trained"]) == (0, False)
    assert rows["warpmix"]["trained"] is True
    assert rows["warpmix"]["operations"] > rows["warpmix"]["parameters"] > 1000


def test_models_table_fits_the_params_of_the_project(tmp_path: Path, root: Path) -> None:
    text = (root / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("height: 64", "height: 32").replace("width: 64", "width: 48"))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    done = vidpred("models", cwd=tmp_path)
    assert done.returncode == 0
    assert "32x48" in done.stdout
    (tmp_path / "params.yaml").write_text(text.replace("fit: crop", "fit: squash"))
    done = vidpred("models", cwd=tmp_path)
    assert done.returncode == 1
    assert "transcode.fit" in only_line(done.stderr)


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """A project whose stage `train` is a script of the test's."""
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  split: {cmd: x, deps: [stages], outs: [data/split]}\n"
        "  train: {cmd: x, deps: [stages/train.py, data/split], outs: [out], metrics: [m.json: {cache: false}]}\n"
    )
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").touch()
    (tmp_path / "data/split").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    (tmp_path / "m.json").write_text("{}")
    return tmp_path


def write_stage(project: Path, text: str) -> None:
    (project / "stages/train.py").write_text(text)


def test_a_stage_runs_in_the_root_without_its_old_outputs_and_gives_its_exit_code(project: Path) -> None:
    write_stage(project, "import os, sys\nprint(os.listdir('.'), os.path.exists('out'))\nsys.exit(7)")
    (project / "below").mkdir()
    done = vidpred("train", cwd=project / "below")
    assert done.returncode == 7
    assert "params.yaml" in done.stdout
    assert "False" in done.stdout
    assert not (project / "m.json").exists()


def test_a_stage_without_its_input_names_the_stage_that_makes_it_and_keeps_what_is_there(project: Path) -> None:
    write_stage(project, "")
    (project / "data/split").rmdir()
    done = vidpred("train", cwd=project)
    assert done.returncode == 1
    assert "dvc repro split" in only_line(done.stderr)
    assert (project / "out/old").exists()


def test_ctrl_c_ends_a_stage_with_its_own_exit_code(project: Path) -> None:
    write_stage(
        project,
        "import sys, time\ntry:\n  open('up', 'w').close(); time.sleep(60)\nexcept KeyboardInterrupt:\n  sys.exit(130)",
    )
    with subprocess.Popen(
        [sys.executable, "-c", "from vidpred.cli import main; main()", "train"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": ROOT},
    ) as process:
        deadline = time.monotonic() + 30
        while not (project / "up").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
