"""`vidpred tune --retry-failed` where nothing failed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidpred.cli import app
from vidpred.tuning.ledger import Ledger
from vidpred.workspace import home, stage_key


@pytest.fixture
def ledger(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Of a sweep of two trials, in a project whose stage `tune` cannot run."""
    shutil.copyfile(root / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "dvc.yaml").write_text("stages: {tune: {cmd: 'false', deps: [nowhere]}}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIDPRED_HOME", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ledger = Ledger(home() / "tune" / stage_key("tune"))
    for number in range(2):
        ledger.started(number, {"model": "conv2d"}, {"CPU": 1})
    ledger.ended(0, "finished")
    return ledger


def test_one_line_where_nothing_failed(ledger: Ledger) -> None:
    ledger.ended(1, "finished")
    done = CliRunner().invoke(app, ["tune", "--retry-failed"])
    assert (done.exit_code, done.stdout) == (0, "none of this sweep's 2 trials has failed: nothing is tried again\n")
    ledger.ended(1, "interrupted")
    done = CliRunner().invoke(app, ["tune", "--retry-failed"])
    assert done.stdout.endswith("`vidpred tune` goes on with those that were interrupted\n")


def test_the_stage_runs_where_something_failed_or_its_record_is_elsewhere(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.ended(1, "failed")
    done = CliRunner().invoke(app, ["tune", "--retry-failed"])
    assert "tune reads nowhere" in str(done.exception)
    ledger.ended(1, "finished")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    done = CliRunner().invoke(app, ["tune", "--retry-failed"])
    assert "tune reads nowhere" in str(done.exception)
