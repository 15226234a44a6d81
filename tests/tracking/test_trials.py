"""The runs of a sweep in MLflow: one a trial, no step twice, whatever the server took before it died."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.tracking.servers import Server
from vidpred.tracking import background, store
from vidpred.tracking.background import mirrored
from vidpred.tracking.runs import Tracker
from vidpred.tracking.trials import RunStatus, SweepRuns, TrialState

pytestmark = pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SADeprecationWarning", "ignore::DeprecationWarning", "ignore::FutureWarning",
    "ignore::ResourceWarning",
)  # fmt: skip

KEY = "0123456789abcdef"


class Records:
    """Trials that get on, as a sweep's record has them."""

    def __init__(self) -> None:
        self.rows: dict[int, list[dict[str, float]]] = {}
        self.status: dict[int, RunStatus] = {}
        self.failure: dict[int, str] = {}
        self.reason: dict[int, str] = {}

    def report(self, number: int, step: int) -> None:
        row = {"step": step, "time": 1.7e9 + step, "perceptual_distance": 10.0 - step, "loss": float(step)}
        self.rows.setdefault(number, []).append(row)
        self.status.setdefault(number, "RUNNING")

    def read(self, number: int) -> TrialState:
        status = self.status[number]
        return TrialState(
            number=number,
            name=f"conv2d-{number}",
            params={"model": "conv2d", "config": {"depth": number}},
            status=status,
            failure=self.failure.get(number, ""),
            tags={"vidpred.node": "10.0.0.7"}
            | ({"vidpred.reason": self.reason[number]} if number in self.reason else {}),
            started_ms=1_700_000_000_000,
            ended_ms=None if status == "RUNNING" else 1_700_000_060_000,
            rows=list(self.rows[number]),
        )

    def runs(self, note: Path | None = None) -> SweepRuns:
        parent = Tracker(stage="tune", key=KEY, params={"a": 1}, tags={}, parent=None, required=True, note=note)
        return SweepRuns(parent, KEY, self.read)


def trials_in(client: MlflowClient) -> dict[str, Run]:
    """Runs of trials by their key; fails where one has two."""
    found = client.search_runs([store.experiment(client)], "tags.`vidpred.stage` = 'trial'")
    by_key = {run.data.tags["vidpred.key"]: run for run in found}
    assert len(by_key) == len(found)
    return by_key


def steps(client: MlflowClient, run: Run) -> list[tuple[int, int]]:
    """(step, time in ms) of the perceptual distance."""
    history = client.get_metric_history(run.info.run_id, "perceptual_distance")
    return sorted((metric.step, metric.timestamp) for metric in history)


@pytest.mark.usefixtures("home")
def test_a_trial_has_one_run_that_tells_all() -> None:
    records = Records()
    runs = records.runs()
    records.report(0, 1)
    runs.send(0)
    client = store.connect()
    run = trials_in(client)[f"{KEY}-0"]
    assert (run.info.status, run.info.run_name) == ("RUNNING", "conv2d-0")
    records.report(0, 2)
    records.status[0] = "FINISHED"
    runs.send(0)
    run = trials_in(client)[f"{KEY}-0"]
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED", 1_700_000_000_000, 1_700_000_060_000,
    )  # fmt: skip
    assert run.data.params == {"model": "conv2d", "config.depth": "0"}
    assert run.data.tags["vidpred.node"] == "10.0.0.7"
    assert run.data.tags["mlflow.parentRunId"] == runs.parent.run_id
    assert steps(client, run) == [(1, 1_700_000_001_000), (2, 1_700_000_002_000)], "the time is the report's"


@pytest.mark.usefixtures("home")
def test_what_broke_a_trial_off_is_no_longer_told_once_it_has_ended_well() -> None:
    records = Records()
    records.report(0, 1)
    records.status[0], records.reason[0] = "KILLED", "broken off"
    records.runs().send(0)
    client = store.connect()
    assert trials_in(client)[f"{KEY}-0"].data.tags["vidpred.reason"] == "broken off"
    records.status[0] = "FINISHED"
    del records.reason[0]
    records.runs().send(0)
    assert "vidpred.reason" not in trials_in(client)[f"{KEY}-0"].data.tags


@pytest.mark.usefixtures("home")
def test_another_process_goes_on_in_the_same_runs() -> None:
    records = Records()
    for number in range(3):
        records.report(number, 1)
        records.runs().send(number)
    records.report(1, 2)
    records.status[1], records.failure[1] = "FAILED", "out of memory"
    again = records.runs()
    for number in range(3):
        again.send(number)
    client = store.connect()
    found = trials_in(client)
    assert len(found) == 3
    failed = found[f"{KEY}-1"]
    assert (failed.info.status, failed.data.tags["vidpred.failure"]) == ("FAILED", "out of memory")
    assert [step for step, _ in steps(client, failed)] == [1, 2]
    records.status[1], records.failure[1] = "RUNNING", ""  # it is tried again
    records.runs().send(1)
    tried = trials_in(client)[f"{KEY}-1"]
    assert tried.info.status == "RUNNING"
    assert "vidpred.failure" not in tried.data.tags


@pytest.mark.usefixtures("home")
def test_rows_that_a_dying_server_took_are_not_sent_again() -> None:
    records = Records()
    records.report(0, 1)
    runs = records.runs()
    runs.send(0)
    records.report(0, 2)
    records.report(0, 3)
    client = store.connect()
    run = trials_in(client)[f"{KEY}-0"]
    # as if it had written a part of the next request: at another time, so that the database cannot tell
    client.log_metric(run.info.run_id, "perceptual_distance", 8.0, timestamp=1, step=2)
    records.runs().send(0)
    assert [step for step, _ in steps(client, run)] == [1, 2, 3]
    assert {m.step for m in client.get_metric_history(run.info.run_id, "loss")} == {1, 2, 3}


@pytest.mark.usefixtures("home")
def test_of_two_runs_of_a_trial_the_empty_one_goes() -> None:
    records = Records()
    records.report(0, 1)
    runs = records.runs()
    runs.send(0)
    client = store.connect()
    run = trials_in(client)[f"{KEY}-0"]
    client.create_run(run.info.experiment_id, tags={k: v for k, v in run.data.tags.items() if k != "vidpred.rows"})
    runs.tidy()
    assert trials_in(client)[f"{KEY}-0"].info.run_id == run.info.run_id


@pytest.fixture
def server(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    one = Server(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", one.uri)
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "home"))
    yield one
    one.kill()


def test_a_server_that_is_killed_half_way_has_everything_in_the_end(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "_EVERY_SECONDS", 0.2)
    monkeypatch.setattr(background, "_AGAIN_SECONDS", 1.0)
    records = Records()
    server.start()
    with caplog.at_level(logging.INFO), mirrored(records.runs()) as mirror:
        for step in range(1, 25):
            if step == 8:
                server.kill()
            if step == 16:
                server.start()
            start = time.monotonic()
            for number in range(4):
                records.report(number, step)
            mirror.touch(range(4))
            assert time.monotonic() - start < 0.5, "the work does not wait for the server"
            time.sleep(0.1)
        for number in range(4):
            records.status[number] = "FINISHED"
        mirror.touch(range(4))
    client = store.connect()
    found = trials_in(client)
    assert sorted(found) == [f"{KEY}-{number}" for number in range(4)]
    for run in found.values():
        assert run.info.status == "FINISHED"
        assert [step for step, _ in steps(client, run)] == list(range(1, 25))
    [parent] = client.search_runs([store.experiment(client)], "tags.`vidpred.stage` = 'tune'")
    assert parent.info.status == "FINISHED"
    assert [r.levelname for r in caplog.records if "MLflow" in r.message] == ["WARNING", "INFO"]


@pytest.mark.usefixtures("server")
def test_a_sweep_without_a_server_ends_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(background, "_EVERY_SECONDS", 0.2)
    records = Records()
    start = time.monotonic()
    with mirrored(records.runs(tmp_path / "run.json")) as mirror:
        records.report(0, 1)
        mirror.touch([0])
        time.sleep(1)
    assert time.monotonic() - start < 20
    assert "`vidpred sync` sends it" in caplog.text
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "FINISHED", "so that sync can say so"


@pytest.mark.usefixtures("home")
def test_a_sweep_that_is_interrupted_is_killed_in_mlflow() -> None:
    with pytest.raises(KeyboardInterrupt), mirrored(Records().runs()):
        raise KeyboardInterrupt
    client = store.connect()
    [parent] = client.search_runs([store.experiment(client)], "tags.`vidpred.stage` = 'tune'")
    assert parent.info.status == "KILLED"
