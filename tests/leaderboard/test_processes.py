"""Jobs side by side: the same figures as one after the other, Ctrl-C, and a process that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from vidpred.leaderboard.crew import Failure, Outcome, carry_out
from vidpred.leaderboard.plan import Plan
from vidpred.leaderboard.runs import Run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*")]

ROOT = str(Path(__file__).parents[2])
TIMINGS = ["train_clips_per_second", "predict_clips_per_second"]


def command(project: Path, *arguments: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("VIDPRED_HOME", "MLFLOW_TRACKING_URI")}
    return subprocess.Popen(
        [sys.executable, "-c", "from vidpred.cli import main; main()", "leaderboard", *arguments],
        cwd=project,
        env=clean | {"COLUMNS": "140", "PYTHONPATH": ROOT},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(pattern: str, project: Path) -> None:
    limit = time.monotonic() + 120
    while not list(project.glob(pattern)):
        assert time.monotonic() < limit, pattern
        time.sleep(0.1)


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["resources"]["checkpoint_every"] = 5
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    asked = ("--models", "conv2d,skip_autoencoder", "--steps", "300", "--seeds", "1", "--rates", "1e-3", "--jobs", "2")
    first = command(project, *asked)
    wait_for("runs/leaderboard/runs/*/step-*", project)
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: to all processes of the command
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "the same command goes on from here" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not (project / "leaderboard").exists()
    left = {path.parent.name for path in project.glob("runs/leaderboard/runs/*/step-*")}
    second = command(project, *asked)
    shown, said = second.communicate(timeout=200)
    assert second.returncode == 0, said
    assert "conv2d" in shown
    logs = "".join((project / f"runs/leaderboard/runs/{name}/log.txt").read_text() for name in left)
    assert "going on from step" in logs
    table = pd.read_csv(project / "leaderboard/leaderboard.csv").drop(columns=TIMINGS)
    # one process, and no interruption: the same figures
    for path in (project / "runs/leaderboard", project / "leaderboard"):
        path.rename(path.with_name(f"{path.name}-before"))
    third = command(project, *asked[:-1], "1")
    _, said = third.communicate(timeout=200)
    assert third.returncode == 0, said
    again = pd.read_csv(project / "leaderboard/leaderboard.csv").drop(columns=TIMINGS)
    pd.testing.assert_frame_equal(table, again)


def test_a_process_that_dies_is_a_failure_and_the_others_go_on(plan: Callable[..., Plan]) -> None:
    asked = plan(steps=400, jobs=2)
    found: dict[int, Outcome] = {}

    def done(job: object, outcome: Outcome) -> list[Run]:
        assert isinstance(job, Run)
        found[job.seed] = outcome
        return []

    def kill_a_child() -> None:
        import threading

        def strike() -> None:
            wait_for("runs/leaderboard/runs/*/step-*", asked.folder.parents[1])
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            busy = [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]
            os.kill(busy[0], signal.SIGKILL)

        threading.Thread(target=strike, daemon=True).start()

    kill_a_child()
    assert carry_out([Run("conv2d", 0, 1e-3), Run("conv2d", 1, 1e-3)], asked, done=done)
    failures = [outcome for outcome in found.values() if isinstance(outcome, Failure)]
    assert len(found) == 2
    assert [outcome.reason for outcome in failures] == ["its process ended by signal 9, perhaps for want of memory"]
