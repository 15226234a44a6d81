"""What a process is told before it trains."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from vidpred.training.device import keep_memory
if {keeps}: keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3): [torch.ones(3_000_000) for _ in range(9)]
before = faults()
for _ in range(10): [torch.ones(3_000_000) for _ in range(9)]
print(faults() - before)
"""


def faults(*, keeps: bool, **environment: str) -> int:
    """Pages of memory that ten steps had to be given."""
    run = [sys.executable, "-c", FAULTS.format(keeps=keeps)]
    told = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return int(subprocess.run(run, capture_output=True, text=True, check=True, env=told).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_memory_that_is_kept_is_not_asked_for_again() -> None:
    taken = faults(keeps=False, MALLOC_TRIM_THRESHOLD_="100000")
    assert faults(keeps=True) < taken / 20
    # who has said what is wanted, gets that
    assert faults(keeps=True, MALLOC_TRIM_THRESHOLD_="100000") > taken / 2


HELD = """
import torch
from pathlib import Path
from vidpred.training.device import give_back_memory, keep_memory
def held():
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmRSS:") + 1]) >> 10
keep_memory()
blocks = [torch.ones(3_000_000) for _ in range(20)]
last = torch.ones(100)  # above them, so that the heap's end is in use
del blocks
before = held()
give_back_memory()
print(before - held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_memory_of_a_training_that_has_ended_is_given_back() -> None:
    run = [sys.executable, "-c", HELD]
    told = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    freed = int(subprocess.run(run, capture_output=True, text=True, check=True, env=told).stdout)
    assert freed > 200  # MiB, of 229
