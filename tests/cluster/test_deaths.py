"""Workers that die: of memory, or of a signal. The search goes on, and says what happened."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.cluster.record import Rates, Record
from vidpred.cluster.connect import connected
from vidpred.cluster.contract import Point, Reporter, Search
from vidpred.cluster.search import run_search
from vidpred.training.peers import Peers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]

SEARCH = Search(
    name="search", storage=Path(), metric="loss", max_steps=4, grace_steps=1, scheduler="fifo", gpus_per_trial=0
)
_EATEN = 3 * 2**30
"""Bytes above what is in use now at which Ray's memory monitor sets in."""


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + _EATEN) / memory.total
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_memory_usage_threshold", f"{min(0.95, threshold):.3f}")
        patch.setenv("RAY_memory_monitor_refresh_ms", "200")
        with connected():
            yield


def _steps(report: Reporter, loss: float) -> Iterator[int]:
    """From where it was; reports after each."""
    found = report.resume_from()
    for step in range(int((found / "step").read_text()) + 1 if found else 1, 5):
        yield step
        report({"step": step, "loss": loss}, lambda folder, step=step: (folder / "step").write_text(str(step)))


def test_a_trial_that_eats_all_memory_fails_alone(tmp_path: Path) -> None:
    if (free := psutil.virtual_memory().available) < 3 * _EATEN:
        pytest.skip(f"{free / 2**30:.1f} GiB of memory are free, of which a trial would take {_EATEN / 2**30:.0f}")

    def trial(point: Point, report: Reporter, _: Peers) -> None:
        for step in _steps(report, point["train"]["rate"]):
            eaten = []
            while step == 2 and point["train"]["rate"] == 1:
                eaten.append(bytearray(b"x") * 2**26)
                time.sleep(0.02)

    record = Record()
    run_search(replace(SEARCH, storage=tmp_path, max_failures=1), Rates(2), trial, listener=record)
    assert record.statuses()[0] == "failed"
    assert record.reasons[0].startswith("out of memory: Ray's memory monitor ended its worker")
    assert record.events.count(("broke", 0)) == 1
    assert [step for step, _ in record.figures()[0]] == [1]
    assert ("ended", 1) in record.events  # whatever the monitor took its worker for


def test_a_worker_that_is_killed_costs_its_trial_a_restart(tmp_path: Path) -> None:
    def trial(point: Point, report: Reporter, _: Peers) -> None:
        rate = point["train"]["rate"]
        for step in _steps(report, rate):
            if step == 3 and (rate == pytest.approx(0.1) or not (tmp_path / "killed").exists()):
                (tmp_path / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

    record = Record()
    run_search(replace(SEARCH, storage=tmp_path, trials_at_once=1), Rates(2), trial, listener=record)
    assert record.statuses() == {0: "finished", 1: "failed"}
    assert [step for step, _ in record.figures()[0]] == [1, 2, 3, 4]
    assert record.events.count(("broke", 0)) == 1
    assert record.events.count(("broke", 1)) == 2
    assert record.reasons[1].startswith("its worker or machine died")
