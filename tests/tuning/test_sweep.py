"""A real sweep on a local Ray: what it leaves behind, and that it is not run twice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from vidpred.cluster.connect import connected
from vidpred.config import Params
from vidpred.errors import UserError
from vidpred.tracking import store
from vidpred.tuning.sweep import show_trials, sweep

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


def small(params: Params) -> Params:
    changes = {
        "tune": {
            "models": {"conv2d": {}, "warpmix": {"config": {"width": [8]}}},
            "trials": 3,
            "steps": 4,
            "grace_steps": 2,
        },
        "train": {"batch_size": 4, "val_windows": 8, "warmup_steps": 1},
    }
    values = params.model_dump(by_alias=True)
    return Params.model_validate(values | {section: values[section] | new for section, new in changes.items()})


def test_a_sweep_is_found_again_in_ray_and_in_mlflow(
    digits: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def run() -> tuple[dict, pd.DataFrame, dict]:
        best = tmp_path / "best.yaml"
        summary = sweep(
            digits / "shards",
            split=digits / "split",
            out=tmp_path / "tune",
            best=best,
            params=small(params),
            key="0123456789abcdef",
            storage=tmp_path / "ray",
        )
        return summary, pd.read_parquet(tmp_path / "tune/trials.parquet"), yaml.safe_load(best.read_text())

    with connected():
        summary, trials, best = run()
        assert summary["trials"] == 3
        assert summary["failed"] == 0
        assert trials["step"].max() == 4
        assert summary["best"]["val_perceptual_distance"] == pytest.approx(
            trials["perceptual_distance"].min(), abs=1e-3
        )
        assert best["model"] == trials.sort_values("perceptual_distance")["model"].iloc[0]
        again = run()
    assert again[0] == summary
    pd.testing.assert_frame_equal(again[1], trials)

    client = store.connect()
    runs = client.search_runs([store.experiment(client)])
    stages = [run.data.tags["vidpred.stage"] for run in runs]
    assert sorted(stages) == ["trial", "trial", "trial", "tune"]
    assert all(run.info.status == "FINISHED" for run in runs)
    parent = next(run.info.run_id for run in runs if run.data.tags["vidpred.stage"] == "tune")
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs} == {None, parent}


@pytest.mark.parametrize(("gains", "told"), [((0.5, -0.25), "+50.0 %"), ((None, None), "no gains: nothing moves")])
def test_gains_of_trials_are_told_where_something_moves(
    gains: tuple[float | None, float | None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"model": "conv2d", "config": "{}", "train": "{}", "step": 4, "perceptual_distance": 3.0, "error": ""}
        | {"val_gain": gain}
        for gain in gains
    ]
    show_trials(pd.DataFrame(rows))
    shown = " ".join(capsys.readouterr().err.split())
    assert told in shown
    assert "nan" not in shown


def test_a_cluster_that_does_not_answer_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"no Ray cluster answers at RAY_ADDRESS=127\.0\.0\.1:1"), connected():
        pass
