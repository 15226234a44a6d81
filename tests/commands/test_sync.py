"""`vidpred sync`: MLflow has what is on disk, once, and nothing runs there that does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow.entities import Run

from vidpred.commands.sync import sync
from vidpred.tracking import store
from vidpred.tracking.runs import Tracker
from vidpred.tuning.lease import held
from vidpred.tuning.ledger import Ledger
from vidpred.workspace import locked, write_json

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning",
    "ignore::sqlalchemy.exc.SADeprecationWarning",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a sweep whose driver was killed, and a training that was; MLflow was away all the time."""
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for stage, params in (("tune", {"tune.steps": "20"}), ("train", {"model": "conv2d"})):
        note = {"stage": stage, "key": f"{stage}key", "params": params, "tags": {"data_id": "d"}, "failure": None}
        write_json(tmp_path / stage / f"{stage}key" / "run.json", note | {"status": "RUNNING"})
    ledger = Ledger(tmp_path / "tune/tunekey")
    for number in range(3):
        point = {"model": "conv2d", "config": {"depth": number}, "train": {}}
        ledger.started(number, point, {"CPU": 1.0, "GPU": 0.0})
        for step in (10, 20):
            ledger.reported(number, {"step": step, "perceptual_distance": 9.0 - number, "pid": 7}, f"/c/{step}")
    ledger.ended(0, "finished")
    ledger.ended(1, "failed", "out of memory")
    rows = [{"step": step, "loss": 1 / step} for step in (1, 2)]
    (tmp_path / "train/trainkey/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def found() -> dict[str, Run]:
    """Runs by their key."""
    client = store.connect()
    runs = client.search_runs([store.experiment(client)])
    by_key = {run.data.tags["vidpred.key"]: run for run in runs}
    assert len(by_key) == len(runs)
    return by_key


def steps(run: Run, name: str) -> list[int]:
    return [metric.step for metric in store.connect().get_metric_history(run.info.run_id, name)]


@pytest.mark.usefixtures("home")
def test_what_is_on_disk_is_sent_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert sync() == 0
        assert "tune/tunekey: 3 trials are there" in capsys.readouterr().out
        runs = found()
        assert {key: run.info.status for key, run in runs.items()} == {
            "tunekey": "KILLED", "tunekey-0": "FINISHED", "tunekey-1": "FAILED", "tunekey-2": "KILLED",
            "trainkey": "KILLED",
        }  # fmt: skip
        for number in range(3):
            assert steps(runs[f"tunekey-{number}"], "perceptual_distance") == [10, 20]
        assert "pid" not in runs["tunekey-0"].data.metrics
        assert runs["tunekey-1"].data.tags["vidpred.failure"] == "out of memory"
        assert runs["tunekey"].data.params == {"tune.steps": "20"}
        assert steps(runs["trainkey"], "loss") == [1, 2]


def test_files_of_a_training_that_ended_while_mlflow_was_away_are_sent(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = home / "project/models/trained"
    model.mkdir(parents=True)
    (model / "model.json").write_text("{}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    note = home / "train/awaykey/run.json"
    note.parent.mkdir()
    with Tracker.open(stage="train", key="awaykey", note=note) as run:
        run.artifact(model, "model")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (model / "model.json").write_text("[]")  # another training has been there since
    assert sync() == 0
    assert "trained, which is another one now" in capsys.readouterr().out

    def sent() -> list[str]:
        files = store.connect().list_artifacts(found()["awaykey"].info.run_id, "model")
        return [file.path for file in files]

    assert sent() == []
    (model / "model.json").write_text("{}")
    assert sync() == 0
    assert "train/awaykey: it is there\n" in capsys.readouterr().out
    assert sent() == ["model/model.json"]
    assert json.loads(note.read_text())["files"] == []
    assert found()["awaykey"].info.status == "FINISHED"


def test_what_is_being_worked_on_is_left_to_who_does(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(home / "tune/tunekey"), locked(home / "train/trainkey"):
        assert sync() == 0
    told = capsys.readouterr().out
    assert "tune/tunekey: it is being run, and sent by the process that runs it" in told
    assert "train/trainkey: it is being trained, and sent by the process that trains it" in told


def test_a_damaged_record_is_named_and_the_others_are_sent(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "tune/tunekey/trials/1/trial.json").write_text("{")
    assert sync() == 1
    told = capsys.readouterr().out
    assert "trial.json is damaged" in told
    assert "train/trainkey: it is there" in told


def test_a_training_leaves_a_note_of_its_run(home: Path) -> None:
    note = home / "train/other/run.json"
    with pytest.raises(KeyboardInterrupt), Tracker.open(stage="train", key="other", params={"a": {"b": 1}}, note=note):
        raise KeyboardInterrupt
    told = json.loads(note.read_text())
    assert (told["status"], told["params"]) == ("KILLED", {"a.b": "1"})


def test_nothing_to_send_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert sync() == 0
    assert "nothing to send" in capsys.readouterr().out
