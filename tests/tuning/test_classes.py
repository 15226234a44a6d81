"""Trials of classifiers are judged by the cross-entropy, and told so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from vidpred.config import Params
from vidpred.errors import UserError
from vidpred.tuning.live import show_trials
from vidpred.tuning.needs import gpu_bytes
from vidpred.tuning.results import COSTS, TIMINGS, best_of, metric_in, metric_of, objectives_of, write
from vidpred.tuning.space import check_space
from vidpred.types import Task

TASK = Task(context=8, horizon=0, height=32, width=32, kind="classify", classes=("walk", "run"))


def trials() -> pd.DataFrame:
    rows = [
        {"trial": n, "model": model, "config": "{}", "train": '{"learning_rate": 0.002}', "step": 20, "status": status,
         "error": "", "cross_entropy": entropy, "val_top1": top1, "curve": "[]"}
        for n, (model, status, entropy, top1) in enumerate(
            [("single_frame", "finished", 2.1, 0.2), ("c3d", "finished", 0.9, 0.7), ("c3d", "failed", 0.1, 1.0)]
        )
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**dict.fromkeys((*TIMINGS, *COSTS), 0.0))


def test_the_trial_of_the_least_cross_entropy_wins(tmp_path: Path) -> None:
    assert best_of(trials())["trial"] == 1
    summary = write(
        trials(), key="k", out=tmp_path / "out", best=tmp_path / "best.yaml", costs=tmp_path / "costs.parquet"
    )
    assert summary["best"] == {"trial": 1, "model": "c3d", "val_cross_entropy": 0.9, "val_top1": 0.7}
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["train"] == {"learning_rate": 0.002}


def test_what_is_made_small_depends_on_the_task() -> None:
    assert (metric_of("predict"), metric_of("classify")) == ("perceptual_distance", "cross_entropy")
    assert metric_in({"cross_entropy": 1.0, "val_top1": 0.5}) == "cross_entropy"
    assert metric_in({"perceptual_distance": 1.0}) == "perceptual_distance"
    asked = ["perceptual_distance", "operations"]
    assert objectives_of(asked, "classify") == ["cross_entropy", "operations"]
    assert objectives_of(["cross_entropy", "latency_ms"], "classify") == ["cross_entropy", "latency_ms"]
    assert objectives_of(asked, "interpolate") == asked


def test_cross_entropy_is_named_for_classifiers_only(params: Params) -> None:
    raw = params.model_dump(by_alias=True)
    raw["tune"] |= {"objectives": ["cross_entropy", "operations"], "search": "optuna", "scheduler": "fifo"}
    with pytest.raises(ValidationError, match=r"cross_entropy, which is for task\.kind classify, not predict"):
        Params.model_validate(raw)
    raw["task"] |= {"kind": "classify"}
    assert Params.model_validate(raw).tune.objectives[0] == "cross_entropy"
    raw["tune"] |= {"objectives": ["cross_entropy", "perceptual_distance"]}
    with pytest.raises(ValidationError, match="give one of them"):
        Params.model_validate(raw)


def classify(params: Params, **changes: object) -> Params:
    raw = params.model_dump(by_alias=True)
    raw["task"] |= {"kind": "classify", "context": 8}
    raw["transcode"]["min_frames"] = 8
    raw["tune"]["models"] = {"c3d": {"train": changes}}
    return Params.model_validate(raw)


def test_what_is_done_to_labels_may_vary(params: Params) -> None:
    varied = {"label_smoothing": [0.0, 0.1], "mixup": {"low": 0.1, "high": 0.4}}
    space = classify(params, **varied).tune
    plain = params.train.changed({f"augment.{name}": False for name in ("flip", "transpose", "reverse")})
    check_space(space, plain, TASK)
    raw = params.model_dump(by_alias=True)
    raw["tune"]["models"] = {"conv2d": {"train": varied}}
    with pytest.raises(
        ValidationError, match=r"tune\.models\.conv2d\.train\.label_smoothing is for task\.kind classify"
    ):
        Params.model_validate(raw)


def test_a_space_with_turns_that_change_classes_unseen_is_refused(params: Params) -> None:
    plain = params.train.changed({f"augment.{name}": False for name in ("flip", "transpose", "reverse", "colour")})
    check_space(classify(params, **{"augment.colour": [False, True]}).tune, plain, TASK)
    with pytest.raises(UserError, match=r"tune\.models\.c3d\.train: train\.augment\.reverse plays windows backwards"):
        check_space(classify(params, **{"augment.reverse": [False, True]}).tune, plain, TASK)


def test_what_every_trial_would_refuse_is_refused_before_the_first(params: Params) -> None:
    off = {f"augment.{name}": False for name in ("transpose", "reverse", "colour")}
    mirrored = params.train.changed(off | {"augment.flip": "left_right"})
    lanes = replace(TASK, classes=("left", "right"))
    with pytest.raises(UserError, match=r"augment\.flip \(left_right\) mirrors windows, .*flip to false, or say"):
        check_space(classify(params).tune, mirrored, lanes)
    check_space(classify(params, **{"augment.flip": [False]}).tune, mirrored, lanes)


def test_a_classifier_s_memory_is_not_that_of_a_rollout(params: Params) -> None:
    asked = classify(params)
    point = {"model": "c3d", "config": {}, "train": {}}
    longer = {**point, "train": {"unroll_steps": 4, "unroll_share": 0.5}}
    assert gpu_bytes(point, asked, TASK) == gpu_bytes(longer, asked, TASK)
    predicts = {**longer, "model": "conv2d"}
    task = Task(context=5, horizon=1, height=32, width=32)
    assert gpu_bytes(predicts, params, task) > gpu_bytes({**point, "model": "conv2d"}, params, task)


def test_the_table_in_the_terminal_says_cross_entropy_and_top1(capsys: pytest.CaptureFixture[str]) -> None:
    show_trials(trials())
    told = capsys.readouterr().err
    for said in ("cross-entropy", "top-1", "0.90", "70.0 %"):
        assert said in told
    assert "PD" not in told
