"""The Slurm script as plain commands on one machine: srun and scontrol are stood in for, the raylets are real."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SRUN = """#!/bin/bash
echo "srun $*" >>"$SRUN_LOG"
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
[[ "$1 $2" == "show hostnames" ]] && printf '%s\\n' "$3-1" "$3-2"
"""
# a job's number decides its ports
JOB = str(os.getpid())


def test_the_script_sweeps_on_a_raylet_a_node_and_leaves_nothing(project: Project, tmp_path: Path) -> None:
    (project.folder / ".venv").symlink_to(sys.prefix)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    told = project.run(
        "bash", "deploy/slurm/vidpred.sbatch",
        PATH=f"{tmp_path}:{project.env['PATH']}", SRUN_LOG=str(tmp_path / "log"),
        SLURM_JOB_ID=JOB, SLURM_JOB_NODELIST="node", SLURM_SUBMIT_DIR=str(project.folder), SLURM_CPUS_PER_TASK="1",
    )  # fmt: skip
    assert "2 nodes are there" in told
    assert "using the Ray cluster at" in told
    summary = json.loads((project.folder / "results/tune/summary.json").read_text())
    assert (summary["trials"], summary["failed"]) == (3, 0)
    steps = (tmp_path / "log").read_text().splitlines()
    assert ["--nodelist=node-1" in step for step in steps[:3]] == [True, True, False]
    assert "ray start --head" in steps[1]
    assert not list((project.folder / "runs/slurm").glob("token-*"))
    left = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"]) if _of_the_job(process)]
    assert left == []
    assert not Path(f"/tmp/vp-{JOB}").exists()


def _of_the_job(process: psutil.Process) -> bool:
    return any(f"/tmp/vp-{JOB}" in word for word in process.info["cmdline"] or [])
