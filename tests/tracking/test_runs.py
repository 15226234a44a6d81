"""Runs: found again, sent once, and never in the way of the work."""

from __future__ import annotations

import json
import logging
import socket
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.tracking.conftest import free_port
from vidpred.tracking import store
from vidpred.tracking.runs import Tracker

# MLflow uses parts of SQLAlchemy that are to go
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*")

KEY = "0123456789abcdef"


def steps(client: MlflowClient, run: str, metric: str) -> list[tuple[int, float]]:
    """Step and value of all that a run has of a figure."""
    return sorted((m.step, m.value) for m in client.get_metric_history(run, metric))


def rows(path: Path, *found: dict[str, object]) -> Path:
    """Writes metrics.jsonl, with a last line that a kill cut short."""
    path.write_text("".join(json.dumps(row) + "\n" for row in found) + '{"step": 99, "lo')
    return path


@pytest.mark.usefixtures("home")
def test_resumed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    with Tracker.open(stage="train", key=KEY, params={"config": {"width": 16}}, tags={"data_id": "d"}) as run:
        run.metrics(10, {"loss": 0.5, "note": "text", "step": 10})
        first = run.run_id
    with Tracker.open(stage="train", key=KEY, params={"config": {"width": 16}, "steps": 9}) as run:
        run.metrics(10, {"loss": 0.5})  # evaluated again after the checkpoint
        run.metrics(20, {"loss": 0.4})
        run.mirror(rows(tmp_path / "metrics.jsonl", *({"step": s, "loss": 1.0, "gain": 0.1} for s in (10, 20, 30))))
        assert run.run_id == first
    client = store.connect()
    assert first is not None
    assert steps(client, first, "loss") == [(10, 0.5), (20, 0.4), (30, 1.0)]
    assert steps(client, first, "gain") == [(10, 0.1), (20, 0.1), (30, 0.1)]
    kept = client.get_run(first)
    assert kept.data.params == {"config.width": "16", "steps": "9"}
    assert kept.data.tags["data_id"] == "d"
    assert kept.info.status == "FINISHED"
    assert not (tmp_path / "mlruns").exists()
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.usefixtures("home")
def test_changed_parameter_is_told_in_a_tag() -> None:
    for value in (100, 200):
        with Tracker.open(stage="train", key=KEY, params={"steps": value}) as run:
            pass
    assert run.run_id is not None
    data = store.connect().get_run(run.run_id).data
    assert (data.params["steps"], data.tags["changed.steps"]) == ("100", "200")


@pytest.mark.usefixtures("home")
def test_trials_stand_below_their_sweep() -> None:
    with Tracker.open(stage="tune", key=KEY) as sweep:
        for trial in range(2):
            with Tracker.open(stage="trial", key=f"{KEY}-{trial}", parent=sweep.run_id) as run:
                run.metrics(1, {"gain": trial})
    client = store.connect()
    below = client.search_runs([store.experiment(client)], f"tags.mlflow.parentRunId = '{sweep.run_id}'")
    assert sorted(r.data.metrics["gain"] for r in below) == [0, 1]


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
@pytest.mark.usefixtures("home")
def test_status_tells_how_it_ended(error: type[BaseException], status: str) -> None:
    with pytest.raises(error), Tracker.open(stage="train", key=KEY) as run:
        raise error
    assert run.run_id is not None
    assert store.connect().get_run(run.run_id).info.status == status


@pytest.mark.usefixtures("home")
def test_failure_without_an_exception_is_told() -> None:
    client = store.connect()
    with Tracker.open(stage="trial", key=KEY) as run:
        run.fail("out of memory")
        run.metrics(1, {"loss": 1.0})
    assert run.run_id is not None
    kept = client.get_run(run.run_id)
    assert (kept.info.status, kept.data.tags["vidpred.failure"]) == ("FAILED", "out of memory")
    assert kept.data.metrics == {"loss": 1.0}
    with Tracker.open(stage="trial", key=KEY):  # tried again, and well
        pass
    kept = client.get_run(run.run_id)
    assert kept.info.status == "FINISHED"
    assert "vidpred.failure" not in kept.data.tags


def test_failure_without_a_server_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with Tracker.open(stage="trial", key=KEY) as run:
        run.fail("out of memory")
    assert run.run_id is None


@pytest.mark.usefixtures("home")
def test_figures_of_the_whole_run_are_set_anew() -> None:
    client = store.connect()
    for value in (3.0, 3.0, 2.0, 4.0, 4.0):
        with Tracker.open(stage="train", key=KEY) as run:
            run.figures({"test_loss": value, "note": "text"})
    assert run.run_id is not None
    assert client.get_run(run.run_id).data.metrics == {"test_loss": 4.0}
    assert sorted(m.value for m in client.get_metric_history(run.run_id, "test_loss")) == [2.0, 3.0, 4.0]


def test_files_and_folders_are_kept_in_the_home(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "0.png").write_bytes(b"png")
    with Tracker.open(stage="evaluate", key=KEY) as run:
        run.artifact(folder, "pictures")
        run.artifact(folder / "0.png")
    kept = {p.name for p in (home / "mlartifacts").rglob("*") if p.is_file()}
    assert kept == {"0.png"}
    assert run.run_id is not None
    assert {f.path for f in store.connect().list_artifacts(run.run_id)} == {"pictures", "0.png"}


@pytest.mark.usefixtures("home")
def test_figures_cost_little() -> None:
    with Tracker.open(stage="train", key=KEY) as run:
        start = time.perf_counter()
        for step in range(20):
            run.metrics(step, {f"metric{i}": float(step) for i in range(10)})
        assert (time.perf_counter() - start) / 20 < 0.1


def test_work_goes_on_without_a_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    start = time.perf_counter()
    with caplog.at_level(logging.INFO), Tracker.open(stage="train", key=KEY) as run:
        for step in range(50):
            run.metrics(step, {"loss": 1.0})
        run.artifact(tmp_path)
        run.mirror(rows(tmp_path / "metrics.jsonl", {"step": 1, "loss": 1.0}))
    assert time.perf_counter() - start < 10
    assert run.run_id is None
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "nothing listens there" in caplog.text


def test_silent_server_costs_seconds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as silent:  # accepts and never answers, as behind some firewalls
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.perf_counter()
        with Tracker.open(stage="train", key=KEY) as run:
            for step in range(20):
                run.metrics(step, {"loss": 1.0})
        assert time.perf_counter() - start < 15
    assert "no answer in time" in caplog.text


def test_server_has_what_the_work_told(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    (tmp_path / "a.txt").write_text("a")
    with Tracker.open(stage="train", key="feed", params={"a": 1}) as run:
        run.metrics(1, {"loss": 2.0})
        run.artifact(tmp_path / "a.txt", "files")
    with Tracker.open(stage="train", key="feed") as again:
        again.mirror(rows(tmp_path / "metrics.jsonl", {"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}))
    assert again.run_id == run.run_id
    assert run.run_id is not None
    client = store.connect()
    assert steps(client, run.run_id, "loss") == [(1, 2.0), (2, 1.0)]
    assert [f.path for f in client.list_artifacts(run.run_id, "files")] == ["files/a.txt"]


def test_server_that_was_away_gets_everything(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    told = rows(tmp_path / "metrics.jsonl", *({"step": s, "loss": float(s)} for s in range(5)))
    with caplog.at_level(logging.INFO), Tracker.open(stage="train", key="late") as run:
        run.metrics(0, {"loss": 0.0})
        run.artifact(told, "files")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)  # as if it had been started now
        run.mirror(told)
    assert run.run_id is not None
    client = store.connect()
    assert [s for s, _ in steps(client, run.run_id, "loss")] == [0, 1, 2, 3, 4]
    assert [f.path for f in client.list_artifacts(run.run_id, "files")] == ["files/metrics.jsonl"]
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]


def test_server_that_goes_away_is_told_of_once(
    server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    with Tracker.open(stage="train", key="gone") as run:
        run.metrics(0, {"loss": 0.0})
        monkeypatch.setattr(run, "_client", MlflowClient(tracking_uri=f"http://127.0.0.1:{free_port()}"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
        start = time.perf_counter()
        for step in range(1, 30):
            run.metrics(step, {"loss": 0.0})
        assert time.perf_counter() - start < 10
    assert [r.levelname for r in caplog.records] == ["WARNING"]


@pytest.mark.usefixtures("home")
def test_deleted_experiment_is_told(caplog: pytest.LogCaptureFixture) -> None:
    client = store.connect()
    client.delete_experiment(store.experiment(client))
    with Tracker.open(stage="train", key=KEY):
        pass
    assert "mlflow experiments restore" in caplog.text


def test_passwords_are_not_shown() -> None:
    assert store.display("https://me:secret@host/x") == "https://host/x"
    assert store.display("postgresql://u:p@h/db") == "postgresql://h/db"
    assert store.display("sqlite:////a/b@c.db") == "sqlite:////a/b@c.db"
