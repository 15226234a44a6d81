"""Data parallelism: two workers end where one with the whole batch would, and leave nothing behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.record import Rates, Record
from vidpred.cluster.connect import connected
from vidpred.cluster.contract import PastTrial, Point, Reporter, Search
from vidpred.cluster.search import run_search
from vidpred.config import Params
from vidpred.training.peers import Peers, averaged
from vidpred.tuning.trial import Trial

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with connected():
            yield


@pytest.fixture
def small(params: Params) -> Params:
    changes = {
        "tune": {"models": {"conv3d": {}}, "trials": 1, "steps": 8, "grace_steps": 4},
        "train": {"batch_size": 6, "val_windows": 7, "warmup_steps": 1, "precision": "float32"},
    }
    values = params.model_dump(by_alias=True)
    return Params.model_validate(values | {section: values[section] | new for section, new in changes.items()})


class One:
    """A point."""

    def suggest(self, number: int) -> Point | None:
        return {"model": "conv3d", "config": {"filters": 4}, "train": {}} if number == 0 else None

    def learn(self, trial: PastTrial) -> None: ...


SEARCH = Search(
    name="search", storage=Path(), metric="perceptual_distance", max_steps=8, grace_steps=4, scheduler="fifo",
    cpus_per_trial=0.5, gpus_per_trial=0,
)  # fmt: skip


def test_two_workers_train_as_one(digits: Path, small: Params, tmp_path: Path) -> None:
    trial = Trial(shards=digits / "shards", split=digits / "split", params=small)
    found = {}
    for workers in (1, 2):
        record = Record()
        search = replace(SEARCH, name=f"with-{workers}", storage=tmp_path, workers_per_trial=workers)
        run_search(search, One(), trial, listener=record)
        assert record.statuses() == {0: "finished"}
        found[workers] = record.trials[0]["reports"]
    assert [row["step"] for row in found[2]] == [row["step"] for row in found[1]] == [4, 8]
    for mine, theirs in zip(found[2], found[1], strict=True):
        for name in ("loss", "val_perceptual_distance", "val_psnr_db", "val_copy_last"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4), name
    assert found[2][0]["loss"] != found[2][1]["loss"]


def free_cpus() -> float:
    import ray

    return float(ray.available_resources().get("CPU", 0))


def wait_for(cpus: float, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while free_cpus() < cpus:
        assert time.monotonic() < until, f"{free_cpus()} CPUs are free, not {cpus}"
        time.sleep(0.5)


def test_workers_of_a_trial_that_is_stopped_or_broken_are_gone(tmp_path: Path) -> None:
    before = free_cpus()

    def trial(point: Point, report: Reporter, peers: Peers) -> None:
        rate = point["train"]["rate"]
        found = report.resume_from()
        for step in range(int((found / "step").read_text()) + 1 if found else 1, 5):
            if rate == pytest.approx(0.01) and peers.rank == 1:
                raise ValueError("one of us gives up")
            averaged(peers, step)  # the others would wait for it for good
            report(
                {"step": step, "loss": -rate * step}, lambda folder, step=step: (folder / "step").write_text(str(step))
            )
            (tmp_path / f"{rate:.3f}-{peers.rank}-{os.getpid()}").touch()

    record = Record()
    search = replace(
        SEARCH, storage=tmp_path, metric="loss", max_steps=4, grace_steps=1, scheduler="asha", workers_per_trial=2,
        max_failures=0,
    )  # fmt: skip
    run_search(search, Rates(3), trial, listener=record)
    assert record.statuses() == {0: "finished", 1: "stopped", 2: "failed"}
    assert "ValueError: one of us gives up" in record.reasons[2]
    assert record.trials[0]["checkpoint"]
    wait_for(before)
    for pid in {int(path.name.split("-")[-1]) for path in tmp_path.glob("0.100-*")}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_trials_of_several_workers_go_on_from_what_they_saved(tmp_path: Path) -> None:
    def trial(point: Point, report: Reporter, peers: Peers) -> None:
        found = report.resume_from()
        first = int((found / "step").read_text()) + 1 if found else 1
        if peers.rank == 0:
            (tmp_path / f"from-{first}").touch()
        for step in range(first, 5):
            averaged(peers, step)
            report(
                {"step": step, "loss": point["train"]["rate"]},
                lambda folder, step=step: (folder / "step").write_text(str(step)),
            )

    def break_off(event: str, number: int) -> None:
        if event == "reported" and len(record.trials[number]["reports"]) == 2:
            raise KeyboardInterrupt

    record = Record(break_off)
    search = replace(SEARCH, storage=tmp_path, metric="loss", max_steps=4, grace_steps=1, workers_per_trial=2)
    with pytest.raises(KeyboardInterrupt):
        run_search(search, Rates(1), trial, listener=record)
    rest = Record()
    rest.trials = record.trials
    run_search(search, Rates(1), trial, listener=rest, past=rest.past())
    assert rest.statuses() == {0: "finished"}
    assert [step for step, _ in rest.figures()[0]] == [1, 2, 3, 4]
    assert (tmp_path / "from-3").exists()
