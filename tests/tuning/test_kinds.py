"""Kinds of searches with real models: equal time, several objectives, a population."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from vidpred.cluster.connect import connected
from vidpred.config import Params
from vidpred.tuning.sweep import Place, sweep

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
def run(digits: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(**tune: object) -> tuple[dict[str, Any], pd.DataFrame]:
        train = {"batch_size": 4, "val_windows": 8, "warmup_steps": 1}
        values = params.model_dump(by_alias=True)
        values |= {"tune": tune, "train": values["train"] | train}
        place = Place(
            shards=digits / "shards", split=digits / "split", out=tmp_path / "out", best=tmp_path / "best.yaml",
            storage=tmp_path / "home/tune",
        )  # fmt: skip
        summary = sweep(place, Params.model_validate(values), key="0123456789abcdef", connect=nullcontext)
        return summary, pd.read_parquet(tmp_path / "out/trials.parquet")

    return run


MODELS = {
    "conv2d": {"train": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}},
    "conv3d": {"config": {"filters": {"low": 2, "high": 8, "step": 2}}},
}


def test_at_equal_time_each_model_has_steps_of_its_own(run: Any) -> None:
    models = {"conv2d": {}, "simvp": {}}
    summary, trials = run(
        models=models, trials=2, scheduler="asha", compare="time", trial_minutes=0.05, steps=2, grace_steps=1
    )
    assert summary["failed"] == 0
    for curve, steps in zip(map(json.loads, trials["curve"]), trials["steps"], strict=True):
        assert [step for step, _ in curve] == [-(-steps // 2), steps]
    assert trials["steps"].nunique() == 2


def test_several_objectives_have_a_front(run: Any) -> None:
    objectives = ["perceptual_distance", "operations", "latency_ms"]
    summary, trials = run(
        models=MODELS, trials=5, search="optuna", scheduler="fifo", objectives=objectives, steps=4, grace_steps=2
    )
    assert summary["failed"] == 0
    assert 1 <= len(summary["front"]) <= 5
    best = int(trials.sort_values("perceptual_distance")["trial"].iloc[0])
    assert summary["front"][0]["trial"] == best
    assert {"trial", "model", "perceptual_distance", "operations"} == set(summary["front"][0])


def test_a_population_changes_what_may_vary(run: Any) -> None:
    rates = {"low": 1e-5, "high": 1e-2, "log": True}
    models = {"conv2d": {"train": {"learning_rate": rates, "loss.gdl": [0.1, 0.25, 1.0]}}}
    summary, trials = run(models=models, trials=4, scheduler="pbt", steps=8, grace_steps=2)
    assert summary["failed"] == 0
    assert list(trials["status"]) == ["finished"] * 4
    assert [len(json.loads(curve)) for curve in trials["curve"]] == [4] * 4
    for train in map(json.loads, trials["train"]):
        assert 1e-5 <= train["learning_rate"] <= 1e-2
        assert train["loss.gdl"] in (0.1, 0.25, 1.0)
