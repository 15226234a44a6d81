"""A real sweep on a local Ray: what it leaves behind, and that it is not run twice."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from mlflow.entities import Run

from vidpred.cluster.connect import connected
from vidpred.cluster.scratch import scratch
from vidpred.config import Params
from vidpred.data.clips import task_of
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import read_info, save_model
from vidpred.tracking import store
from vidpred.training.data import read_data
from vidpred.training.loop import Trainer
from vidpred.tuning.lease import held
from vidpred.tuning.live import show_trials
from vidpred.tuning.results import trials_with_costs
from vidpred.tuning.sweep import Place, sweep

KEY = "0123456789abcdef"

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


def small(params: Params, **tune: object) -> Params:
    """A search of seconds over two small models."""
    models = {"conv2d": {}, "warpmix": {"config": {"width": [8]}}}
    changes = {
        "tune": {"models": models, "trials": 3, "steps": 4, "grace_steps": 2} | tune,
        "train": {"batch_size": 4, "val_windows": 8, "warmup_steps": 1},
    }
    values = params.model_dump(by_alias=True)
    return Params.model_validate(values | {section: values[section] | new for section, new in changes.items()})


@pytest.fixture(scope="module")
def ray_there() -> Iterator[None]:
    """Ray on this machine, once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with connected():
            yield


class Runs:
    """Sweeps in a folder of their own, as the stage runs them; counts how often Ray was asked for."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.place = Place(
            shards=data / "shards",
            split=data / "split",
            out=folder / "out",
            best=folder / "best.yaml",
            storage=folder / "home/tune",
        )
        self.folder = self.place.storage / KEY
        self.started = 0

    @contextmanager
    def connect(self) -> Iterator[None]:
        self.started += 1
        yield

    def __call__(self, params: Params, *, retry_failed: bool = False) -> dict:
        return sweep(self.place, params, key=KEY, connect=self.connect, retry_failed=retry_failed)

    def outputs(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.place.best, self.place.out / "trials.parquet")}

    def in_mlflow(self) -> tuple[dict[int, Run], Run]:
        """Runs of the trials by number, and the sweep's own; fails where a trial has two."""
        client = store.connect()
        found = client.search_runs([store.experiment(client)])
        trials = [run for run in found if run.data.tags["vidpred.stage"] == "trial"]
        [parent] = [run for run in found if run.data.tags["vidpred.stage"] == "tune"]
        assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
        numbers = [int(run.data.tags["vidpred.key"].removeprefix(f"{KEY}-")) for run in trials]
        assert len(set(numbers)) == len(numbers)
        return dict(zip(numbers, trials, strict=True)), parent


@pytest.fixture
def runs(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_there: None) -> Runs:  # noqa: ARG001
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Runs(digits, tmp_path)


def test_the_same_inputs_find_the_same_sweep(runs: Runs, params: Params) -> None:
    summary = runs(small(params))
    assert (summary["trials"], summary["failed"], summary["sweep"]) == (3, 0, KEY)
    trials = pd.read_parquet(runs.place.out / "trials.parquet")
    assert trials["step"].max() == 4
    assert summary["best"]["val_perceptual_distance"] == pytest.approx(trials["perceptual_distance"].min(), abs=1e-3)
    best = yaml.safe_load(runs.place.best.read_text())
    assert best["model"] == trials.sort_values("perceptual_distance")["model"].iloc[0]
    assert not {"seconds", "node", "clips_per_second"} & set(trials), "what DVC keeps has no timings"
    costs = trials_with_costs(runs.place.out / "trials.parquet", runs.folder / "costs.parquet")
    assert (costs["cpu_seconds"] > 0).all()
    assert costs["node"].str.len().gt(0).all()

    outputs = runs.outputs()
    shutil.rmtree(runs.place.out)
    runs.place.best.unlink()
    assert runs(small(params)) == summary
    assert runs.started == 1, "nothing was left to be done: Ray is not needed"
    assert runs.outputs() == outputs

    in_mlflow, parent = runs.in_mlflow()
    assert sorted(in_mlflow) == [0, 1, 2]
    assert {run.info.status for run in (*in_mlflow.values(), parent)} == {"FINISHED"}
    client = store.connect()
    for number, run in in_mlflow.items():
        assert run.data.params["model"] == trials["model"][number]
        told = client.get_metric_history(run.info.run_id, "perceptual_distance")
        assert [[m.step, m.value] for m in told] == json.loads(trials["curve"][number])
        assert run.info.end_time > run.info.start_time
        assert {"vidpred.node", "vidpred.cpus", "vidpred.seconds"} <= set(run.data.tags)

    larger = runs(small(params, trials=5))
    assert larger["trials"] == 5
    assert runs.started == 2
    again = pd.read_parquet(runs.place.out / "trials.parquet")
    pd.testing.assert_frame_equal(again[:3], trials)  # those that were there are not run again
    assert sorted(runs.in_mlflow()[0]) == [0, 1, 2, 3, 4]

    assert runs(small(params)) == summary, "a smaller budget takes the first trials of the larger one"
    assert runs.outputs() == outputs
    assert runs.started == 2


def test_trials_begin_with_the_model_that_is_named(runs: Runs, params: Params, tmp_path: Path) -> None:
    begin = tmp_path / "begin"
    task = task_of(Shards(runs.place.shards), params.task, runs.place.split)
    torch.manual_seed(5)
    model = zoo.build("conv2d", {}, task)
    save_model(begin, model, name="conv2d", config={}, task=task, info={"data_id": "d"})
    # with a learning rate of next to nothing what a trial reports is what it began with
    space = {"conv2d": {"train": {"learning_rate": [1e-12]}}, "convlstm": {"train": {"learning_rate": [1e-12]}}}
    asked = small(params, models=space, search="grid", trials=None)
    values = asked.model_dump(by_alias=True)
    named = Params.model_validate(values | {"train": values["train"] | {"init": str(begin)}})
    summary = runs(named)
    trials = pd.read_parquet(runs.place.out / "trials.parquet").set_index("model")
    assert "train.init: conv2d of" in trials.loc["convlstm", "error"]  # nothing of it fits
    data = read_data(runs.place.shards, runs.place.split, named)
    with scratch() as folder:
        alone = Trainer(
            model, data, named.train.changed({"learning_rate": 1e-12}), steps=4, device=torch.device("cpu"),
            folder=Path(folder), checkpoint_every=4,
        )  # fmt: skip
        alone.run()
    assert trials.loc["conv2d", "perceptual_distance"] == pytest.approx(alone.best["val_perceptual_distance"], rel=1e-4)
    assert summary["init"] == {"name": "conv2d", "weights_sha256": read_info(begin)["weights_sha256"]}

    shutil.rmtree(begin)
    torch.manual_seed(6)
    save_model(begin, zoo.build("conv2d", {}, task), name="conv2d", config={}, task=task, info={"data_id": "d"})
    with pytest.raises(UserError, match=r"train.init: .* has other weights .* than when this sweep began"):
        runs(named)


def test_failed_trials_are_tried_again_when_they_are_asked_for(
    runs: Runs, params: Params, caplog: pytest.LogCaptureFixture
) -> None:
    # a model without discriminators
    space = {"conv2d": {"train": {"loss.adversarial": [1.0]}}}
    failing = small(params, models=space, trials=2, scheduler="fifo")
    summary = runs(failing)
    assert (summary["trials"], summary["failed"]) == (2, 1)
    run = runs.in_mlflow()[0][1]
    assert run.info.status == "FAILED"
    assert "discriminators" in run.data.tags["vidpred.failure"]
    assert runs(failing) == summary
    assert runs.started == 1
    with caplog.at_level(logging.INFO):
        runs(failing, retry_failed=True)
    assert runs.started == 2
    assert "tried again: trial 1" in caplog.text
    assert runs.in_mlflow()[0][1].info.status == "FAILED"


def test_a_second_driver_is_refused_and_spoils_nothing(runs: Runs, params: Params) -> None:
    runs(small(params, trials=2))
    before = runs.outputs()
    with held(runs.folder), pytest.raises(UserError, match=f"the sweep {KEY} is being run by process"):
        runs(small(params))
    assert runs.outputs() == before


@pytest.mark.parametrize(("gains", "told"), [((0.5, -0.25), "+50.0 %"), ((None, None), "no gains: nothing moves")])
def test_gains_of_trials_are_told_where_something_moves(
    gains: tuple[float | None, float | None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"trial": trial, "model": "conv2d", "config": "{}", "train": "{}", "step": 4, "perceptual_distance": 3.0}
        | {"error": "", "status": "finished", "val_gain": gain}
        for trial, gain in enumerate(gains)
    ]
    show_trials(pd.DataFrame(rows))
    shown = " ".join(capsys.readouterr().err.split())
    assert told in shown
    assert "nan" not in shown


def test_a_cluster_that_does_not_answer_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"no Ray cluster answers at RAY_ADDRESS=127\.0\.0\.1:1"), connected():
        pass
