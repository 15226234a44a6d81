"""What is on record of a sweep: each step once, whatever is killed, and all that a search goes on from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vidpred.cluster.contract import Spent
from vidpred.errors import UserError
from vidpred.tuning.ledger import Ledger

POINT = {"model": "conv2d", "config": {"depth": 2}, "train": {"learning_rate": 0.001}}
RESOURCES = {"CPU": 2.0, "GPU": 0.0, "workers": 1.0}


def report(ledger: Ledger, number: int, step: int, distance: float = 3.0, checkpoint: str | None = None) -> bool:
    figures = {"step": step, "perceptual_distance": distance, "seconds": step / 10, "node_ip": "10.0.0.7"}
    return ledger.reported(number, figures, checkpoint or f"/checkpoints/{number}-{step}")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A sweep that was killed while trial 1 ran and trial 2 was being written to."""
    ledger = Ledger(tmp_path / "sweep")
    for number in range(3):
        ledger.started(number, POINT, RESOURCES)
        report(ledger, number, 10)
    report(ledger, 0, 20, 2.0)
    ledger.ended(0, "finished")
    ledger.note(spent=Spent(12.5, 0.0))
    return ledger.folder


def test_it_is_read_as_it_was_written(written: Path) -> None:
    ledger = Ledger(written)
    assert ledger.spent == Spent(12.5, 0.0)
    first, second, _ = ledger.past()
    assert (first.status, first.checkpoint, first.point) == ("finished", "/checkpoints/0-20", POINT)
    assert [(row["step"], row["perceptual_distance"]) for row in first.reports] == [(10, 3.0), (20, 2.0)]
    assert second.status == "running"
    entry = ledger.entries[0]
    assert (entry.cpus, entry.seconds, entry.step, entry.node) == (2.0, 2.0, 20, "10.0.0.7")
    assert [one.number for one in ledger.past(limit=2)] == [0, 1]
    assert ledger.pending() == [1, 2]


def test_steps_that_come_again_after_a_restart_are_written_once(written: Path) -> None:
    ledger = Ledger(written)
    ledger.started(1, POINT, RESOURCES)
    assert not report(ledger, 1, 10, 99.0)
    assert report(ledger, 1, 20)
    assert not report(ledger, 1, 20)
    rows = Ledger(written).rows(1)
    assert [(row["step"], row["perceptual_distance"]) for row in rows] == [(10, 3.0), (20, 3.0)]


@pytest.mark.parametrize("torn", ['{"step": 20, "perc', "{", '{"step": 20}'])
def test_a_line_that_was_cut_short_is_mended(written: Path, torn: str) -> None:
    with (written / "trials/2/metrics.jsonl").open("a") as file:
        file.write(torn)
    assert [row["step"] for row in Ledger(written).rows(2)] == [10]
    ledger = Ledger(written, mend=True)
    report(ledger, 2, 20)
    assert [row["step"] for row in Ledger(written).rows(2)] == [10, 20]


def test_trials_whose_driver_is_gone_are_interrupted_and_their_new_start_is_counted(written: Path) -> None:
    ledger = Ledger(written)
    assert ledger.broken_off() == [1, 2]
    assert ledger.entries[1].status == "interrupted"
    ledger.started(1, POINT, RESOURCES)
    ledger.broke(1, "its worker was lost")
    ledger.started(1, POINT, RESOURCES)
    entry = Ledger(written).entries[1]
    assert (entry.status, entry.restarts, entry.ended) == ("running", 2, None)


def test_failed_trials_are_tried_again_from_their_checkpoint(written: Path) -> None:
    ledger = Ledger(written)
    ledger.ended(1, "failed", "out of memory")
    assert Ledger(written).pending() == [2]
    assert ledger.retry_failed() == [1]
    again = Ledger(written).past()[1]
    assert (again.status, again.checkpoint) == ("interrupted", "/checkpoints/1-10")


def test_the_traceback_of_a_failed_trial_lies_in_its_folder(written: Path) -> None:
    Ledger(written).ended(0, "failed", "ValueError: no", traceback="Traceback …")
    assert (written / "trials/0/error.txt").read_text() == "Traceback …"


def test_another_point_is_kept_beside_the_one_before(written: Path) -> None:
    ledger = Ledger(written)
    other = POINT | {"train": {"learning_rate": 0.01}}
    ledger.changed(1, other, taken_from=0, step=20, checkpoint="/checkpoints/0-20")
    past = Ledger(written).past()[1]
    assert (past.point, past.checkpoint, past.changed_at) == (other, "/checkpoints/0-20", 20)
    assert Ledger(written).entries[1].changes[0]["before"] == POINT


def test_figures_that_are_not_finite_or_not_pythons_are_written_as_json(written: Path) -> None:
    ledger = Ledger(written)
    ledger.reported(1, {"step": np.int64(20), "loss": float("nan"), "val_psnr_db": np.float32(2.5)}, None)
    row = json.loads((written / "trials/1/metrics.jsonl").read_text().splitlines()[-1])
    assert (row["step"], row["loss"], row["val_psnr_db"]) == (20, None, 2.5)
    assert ledger.entries[1].checkpoint == "/checkpoints/1-10", "one report without a checkpoint keeps the last"


def test_who_may_not_write_leaves_it_as_it_is(written: Path) -> None:
    def forbid() -> None:
        raise UserError("another process has taken this sweep over")

    before = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    ledger = Ledger(written, permit=forbid)
    for write in (
        lambda: report(ledger, 1, 20),
        lambda: ledger.ended(1, "finished"),
        lambda: ledger.note(spent=Spent()),
        lambda: ledger.started(3, POINT, RESOURCES),
    ):
        with pytest.raises(UserError, match="taken this sweep over"):
            write()
    assert {path: path.read_bytes() for path in written.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", ["", "[]", '{"number": 1}'])
def test_a_damaged_file_is_named_with_what_to_do(written: Path, content: str) -> None:
    (written / "trials/1/trial.json").write_text(content)
    with pytest.raises(UserError, match=r"trial\.json is damaged .*delete the folder .*trials/1"):
        Ledger(written)
