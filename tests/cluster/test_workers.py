"""Data parallelism: two workers end where one with the whole batch would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vidpred.cluster.connect import connected
from vidpred.cluster.search import Point, Search, run_search
from vidpred.config import Params
from vidpred.tuning.trial import Trial

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


class Silent:
    def started(self, number: int) -> None: ...
    def reported(self, number: int, figures: Mapping[str, Any]) -> None: ...
    def ended(self, number: int, *, failed: bool) -> None: ...


@pytest.fixture
def small(params: Params) -> Params:
    changes = {
        "tune": {"models": {"conv3d": {}}, "trials": 1, "steps": 8, "grace_steps": 4},
        "train": {"batch_size": 6, "val_windows": 7, "warmup_steps": 1, "precision": "float32"},
    }
    values = params.model_dump(by_alias=True)
    return Params.model_validate(values | {section: values[section] | new for section, new in changes.items()})


def test_two_workers_train_as_one(digits: Path, small: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    point: Point = {"model": "conv3d", "config": {"filters": 4}, "train": {}}
    trial = Trial(shards=digits / "shards", split=digits / "split", params=small)
    found = {}
    with connected():
        for workers in (1, 2):
            search = Search(
                name=f"with-{workers}", storage=tmp_path, metric="perceptual_distance", max_steps=8, grace_steps=4,
                reduction_factor=3, cpus_per_trial=0.5, gpus_per_trial=0, workers_per_trial=workers,
            )  # fmt: skip
            [result] = run_search(search, [point], trial, listener=Silent())
            assert result.error == ""
            found[workers] = result.history
    assert [row["step"] for row in found[2]] == [row["step"] for row in found[1]] == [4, 8]
    for mine, theirs in zip(found[2], found[1], strict=True):
        for name in ("loss", "val_perceptual_distance", "val_psnr_db", "val_copy_last"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4), name
    assert found[2][0]["loss"] != found[2][1]["loss"]
