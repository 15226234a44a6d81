"""The benchmarks run and their table comes out; how fast anything was is not asserted."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import localise, material, predict, serve, steps, train, tune
from benchmarks.contest import Row, show, take_turns, versus, write
from benchmarks.data import BENCHMARKS, Setting, measure
from vidpred.config import load_params
from vidpred.data import shapes
from vidpred.data.launch import any_ffmpeg
from vidpred.data.media import facts
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.serving.classify import ClipClassifier
from vidpred.types import Classifier, Task


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_gives_figures(name: str, tmp_path: Path) -> None:
    rows = measure(Setting(tmp_path, share=0.01, repeats=1, workers=2, files=20), [name])
    assert {row.name for row in rows} == {name}
    for row in rows:
        assert row.value is not None or "not installed" in row.note or "no system ffmpeg" in row.note
        if row.value is not None:
            assert math.isfinite(row.value)
            assert row.value >= 0
            assert row.unit != "x" or row.value > 0
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", ["convlstm", "simvp", "waiting", pytest.param("openstl", marks=pytest.mark.slow)])
def test_a_benchmark_of_training_gives_figures(name: str, tmp_path: Path) -> None:
    rows = train.measure(train.Setting(tmp_path, steps=1, repeats=1), [name])
    assert {row.name for row in rows} == {name}
    for row in rows:
        assert row.value is not None or "bfloat16" in row.note
        assert row.value is None or (math.isfinite(row.value) and row.value >= 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["warm", "plain", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cold", "folder"))]
)
def test_a_benchmark_of_prediction_gives_figures(name: str, tmp_path: Path) -> None:
    rows = predict.measure(predict.Setting(tmp_path, repeats=1, predictions=1, files=4), [name])
    assert {row.name for row in rows} == {name}
    assert all(row.value is not None and math.isfinite(row.value) and row.value > 0 for row in rows)


def test_a_plain_model_that_computes_something_else_voids_the_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps.make_shards(tmp_path)
    contest = steps.Contest(steps.CASES["convlstm"], tmp_path)
    contest.check()
    same = steps.plain.same

    def other(*arguments: Any) -> torch.nn.Module:
        model = same(*arguments)
        with torch.no_grad():
            next(model.parameters()).mul_(1.1)
        return model

    monkeypatch.setattr(steps.plain, "same", other)
    with pytest.raises(UserError, match=r"are not the same: frames differ by .*: the benchmark is void"):
        contest.check()


def test_the_command_prints_the_table_and_writes_it(tmp_path: Path, root: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.data", "--quick", "--repeats", "1", "--only", "memory"),
            *("--files", "20", "--folder", str(tmp_path), "--out", str(tmp_path / "bench.json")),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    assert "20 files, against 1" in done.stdout
    assert "memory with 20 files" in done.stderr
    told = json.loads((tmp_path / "bench.json").read_text())
    assert told["rows"][0]["met"] in (True, False)
    assert {"processor", "cores", "file_system", "ffmpeg", "sizes"} <= set(told["machine"])


def test_a_folder_without_gifs_is_one_line(tmp_path: Path, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.data", "--only", "gifs", "--real", str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: {tmp_path} holds no .gif: give --real another folder, or leave it out"]


def test_a_limit_is_met_or_not_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turns = {"ours": [1.0, 2.0, 1.0], "theirs": [3.0, 8.0, 2.0]}
    row = versus("x", "ours against theirs", turns, "ours", "theirs", limit=3)
    assert (row.value, row.low, row.high, row.repeats, row.met) == (3, 2, 4, 3, True)
    rows = [
        row,
        Row("y", "slow", value=1, limit=2),
        Row("z", "much", value=3, limit=2, at_least=False),
        Row("n", "none"),
    ]
    assert [row.met for row in rows] == [True, False, False, None]
    show(rows, {"cores": 2})
    shown = capsys.readouterr().out
    assert ("not measured" in shown, "cores 2" in shown) == (True, True)
    write(tmp_path / "rows.json", rows, {"cores": 2})
    assert [row["met"] for row in json.loads((tmp_path / "rows.json").read_text())["rows"]] == [
        True,
        False,
        False,
        None,
    ]


def test_contestants_take_turns(tmp_path: Path) -> None:
    order: list[str] = []
    times = take_turns({"a": lambda _: order.append("a"), "b": lambda _: order.append("b")}, 3, tmp_path)
    assert order == ["a", "b"] * 3
    assert [len(seconds) for seconds in times.values()] == [3, 3]


def test_copies_of_a_gif_are_different_files_of_the_same_frames(tmp_path: Path) -> None:
    (gif,) = material.gifs(tmp_path, 1, frames=8, height=160, width=210)
    assert 80_000 < gif.stat().st_size < 300_000
    other = tmp_path / "other.gif"
    other.write_bytes(material.tagged(gif.read_bytes(), "copy 1"))
    assert other.read_bytes() != gif.read_bytes()
    assert facts(other, ffmpeg=any_ffmpeg()) == facts(gif, ffmpeg=any_ffmpeg())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_benchmark_of_sweeps_gives_figures(tmp_path: Path) -> None:
    setting = tune.Setting(tmp_path, seconds=2, trials=2, many=12, shard_mb=20, repeats=1)
    rows = tune.measure(setting)
    assert {row.name for row in rows} == set(tune.BENCHMARKS)
    for row in rows:
        assert row.value is not None
        assert math.isfinite(row.value)


def test_growth_is_that_of_a_trial_once_the_first_are_done() -> None:
    noted = [(1, 10 << 20), (50, 90 << 20), *((n, (100 << 20) + 2048 * n) for n in range(100, 1000, 10))]
    assert tune.slope_kib(noted, 100) == pytest.approx(2)


def test_one_trial_is_no_sweep_to_be_timed(root: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.tune", "--trials", "1"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: --trials 1: give at least 2"]


def test_a_project_for_a_sweep_can_be_searched(tmp_path: Path) -> None:
    folder = tune.make_project(tmp_path / "p", mb=1, setting=tune.Setting(tmp_path), steps=2, grace_steps=1)
    assert sorted(path.name for path in folder.iterdir()) == ["params.yaml", "shards", "split"]
    assert load_params(folder / "params.yaml").tune.trials == 8


@pytest.mark.slow
def test_a_benchmark_of_the_page_gives_figures(tmp_path: Path) -> None:
    rows = serve.measure(serve.Setting(tmp_path, seconds=2, clients=4, side=32))
    assert [row.name for row in rows] == ["load", *["plain"] * 2, *["load"] * 3, *["overload"] * 3]
    for row in rows:
        assert row.value is not None
        assert math.isfinite(row.value)


def test_the_benchmark_of_long_videos_gives_figures(tmp_path: Path) -> None:
    classes = ("background", *shapes.MOTIONS)
    task = Task(context=8, horizon=0, height=32, width=32, kind="classify", classes=classes)
    built = zoo.build("early_fusion", {}, task, Classifier)
    save_model(tmp_path / "model", built, name="early_fusion", config={}, task=task, info={"fps": 10.0, "fit": "crop"})
    model = ClipClassifier.load(tmp_path / "model", device="cpu")
    truth = localise.make_videos(tmp_path / "videos", 2, seed=1, seconds=6)
    rows = localise.measure(model, tmp_path / "videos", truth)
    assert [row["way"] for row in rows] == list(localise.WAYS)
    for row in rows:
        means, spread = row["map"], row["interval"]
        assert isinstance(means, dict)
        assert isinstance(spread, dict)
        for threshold, (low, high) in spread.items():
            assert 0 <= low <= high <= 1
            assert 0 <= means[threshold] <= 1
