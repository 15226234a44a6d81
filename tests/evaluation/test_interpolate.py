"""The middle frame, from training to the verdict: judged against the best of its neighbours and their average."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image, ImageSequence

from vidpred.config import EvaluateParams, Params, TaskParams, TrainParams
from vidpred.data.clips import make_batch, read_windows
from vidpred.data.flow_store import write_flow
from vidpred.errors import UserError
from vidpred.evaluation.evaluate import evaluate, headline
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.tracking.gate import Bench, decide
from vidpred.training.data import Data, read_data
from vidpred.training.figures import verdict
from vidpred.training.final import Choice, write_outputs
from vidpred.training.loop import Trainer
from vidpred.training.metrics import score

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def asked(params: Params) -> Params:
    """The project's params.yaml, for interpolation and small."""
    train: dict[str, Any] = {"batch_size": 8, "evaluate_every": 30, "val_windows": 16, "warmup_steps": 5}
    return params.model_copy(
        update={
            "task": TaskParams(kind="interpolate", context=2, horizon=1),
            "train": TrainParams.model_validate(params.train.model_dump() | train),
            "evaluate": EvaluateParams(windows_per_clip=4, rollout=3, pictures=2),
        }
    )


@pytest.fixture(scope="module")
def data(digits: Path, asked: Params) -> Data:
    return read_data(digits / "shards", digits / "split", asked)


@pytest.fixture(scope="module")
def trained(data: Data, asked: Params, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path]:
    """A small warpmix after 60 steps, and its folder."""
    folder = tmp_path_factory.mktemp("interpolate")
    torch.manual_seed(0)
    model = zoo.build("warpmix", {"width": 8}, data.task)
    run = Trainer(model, data, asked.train, steps=60, device=CPU, folder=folder / "run")
    run.run()
    choice = Choice("warpmix", {"width": 8}, asked.train)
    write_outputs(run, choice, out=folder / "model", curves=folder / "curves.csv")
    return run, folder


@pytest.fixture(scope="module")
def figures(trained: tuple[Trainer, Path], digits: Path, asked: Params) -> dict[str, Any]:
    return evaluate(
        trained[1] / "model",
        shards_folder=digits / "shards",
        split=digits / "split",
        by_time=False,
        out=trained[1] / "evaluation",
        params=asked,
        device=CPU,
    )


def test_windows_are_three_frames_with_the_middle_one_asked_for(data: Data) -> None:
    frames = read_windows(data.shards, data.val[:2], count=3)
    batch = make_batch(frames, context=2, between=True)
    as_floats = torch.from_numpy(frames).movedim(-1, -3) / 255
    torch.testing.assert_close(batch.context, as_floats[:, [0, 2]])
    torch.testing.assert_close(batch.target, as_floats[:, [1]])
    assert {window.start % 3 for window in data.val} == {0}  # a window spans three frames, and none overlap


def test_it_is_trained_against_the_best_of_three_baselines(trained: tuple[Trainer, Path], data: Data) -> None:
    run, folder = trained
    batch = make_batch(read_windows(data.shards, data.val, count=3), context=2, between=True)
    first, last = batch.context[:, :1], batch.context[:, 1:]
    for name, frames in {"copy_first": first, "copy_last": last, "average": (first + last) / 2}.items():
        known = float(score(frames, batch.target)["perceptual_distance"].mean())
        assert all(row[f"val_{name}"] == pytest.approx(known, rel=1e-5) for row in run.rows)
    row = run.best
    bar = min(row["val_copy_first"], row["val_copy_last"], row["val_average"])
    assert row["val_gain"] == pytest.approx(1 - row["val_perceptual_distance"] / bar)
    assert row["val_gain"] > 0.1
    said = json.loads((folder / "model/model.json").read_text())
    assert said["task"]["kind"] == "interpolate"
    assert said["training"]["val_average"] == row["val_average"]


def test_the_log_names_the_best_baseline(
    data: Data, asked: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        Trainer(zoo.build("conv2d", {}, data.task), data, asked.train, steps=1, device=CPU, folder=tmp_path).run()
    assert "(average " in caplog.text


def test_a_broken_run_goes_on_to_the_same_bits(trained: tuple[Trainer, Path], data: Data, asked: Params) -> None:
    run, folder = trained
    checkpoint = run.save(folder / "kept")
    again = Trainer(
        zoo.build("warpmix", {"width": 8}, data.task), data, asked.train, steps=60, device=CPU, folder=folder / "again"
    )
    again.restore(checkpoint)
    assert again.validate() == {k: v for k, v in run.rows[-1].items() if k.startswith("val_")}


def test_the_verdict_is_over_the_best_baseline(figures: dict[str, Any], trained: tuple[Trainer, Path]) -> None:
    assert figures["test"].keys() == {"warpmix", "copy_first", "copy_last", "average", "flow_gate"}
    distances = {n: found["perceptual_distance"] for n, found in figures["test"].items()}
    bars = {n: distances[n] for n in ("copy_first", "copy_last", "average")}
    bar = min(bars, key=bars.__getitem__)
    judged = verdict(figures)
    assert figures["baseline"] == judged.baseline == bar
    assert judged.gain["pooled"] == pytest.approx(1 - distances["warpmix"] / bars[bar])
    assert judged.gain["pooled"] > 0.1
    assert headline(figures)[f"pd_{bar}"] == pytest.approx(bars[bar], abs=1e-4)
    curves = pd.read_parquet(trained[1] / "evaluation/rollout.parquet")
    assert set(curves["step"]) == {1}  # it is not rolled out
    assert set(curves["model"]) == distances.keys()


def test_pictures_show_every_second_frame_made_again(figures: dict[str, Any], trained: tuple[Trainer, Path]) -> None:
    folder = trained[1] / "evaluation/pictures"
    captions = json.loads((folder / "pictures.json").read_text())
    assert len(captions) == 2
    assert captions[0]["steps"] == 3
    with Image.open(folder / "0.gif") as moving, Image.open(folder / "0.png") as strip:
        assert len(list(ImageSequence.Iterator(moving))) == 7
        assert strip.width == 7 * (64 + 4)
    assert figures["windows"] > 0


def test_a_model_for_what_follows_is_refused(asked: Params, digits: Path, tmp_path: Path, data: Data) -> None:
    task = data.task.__class__(context=2, horizon=1, height=32, width=32)
    save_model(tmp_path, zoo.build("conv2d", {}, task), name="conv2d", config={}, task=task, info={})
    with pytest.raises(UserError, match="for another task: kind predict"):
        evaluate(
            tmp_path, shards_folder=digits / "shards", split=digits / "split", by_time=False, out=tmp_path / "out",
            params=asked, device=CPU,
        )  # fmt: skip


def test_the_gate_names_the_bar(
    figures: dict[str, Any], trained: tuple[Trainer, Path], data: Data, digits: Path
) -> None:
    bar = figures["baseline"]
    windows = pd.read_parquet(trained[1] / "evaluation/windows.parquet")
    for beats in (True, False):
        bench = Bench(
            info=json.loads((trained[1] / "model/model.json").read_text()),
            metrics=figures | {f"beats_{bar}": beats, "why_not": "" if beats else "it is not shown"},
            windows=windows[windows["model"] == "warpmix"],
            shards=data.shards,
            split=digits / "split",
            flow=data.flow,
            batch_size=8,
            crop=None,
            device=CPU,
        )
        told = decide(bench, None).reason
        assert told == (f"it beats {bar}, and there was no champion" if beats else
                        f"it does not beat {bar}: it is not shown")  # fmt: skip


def test_stored_flow_leads_over_the_frame_between(data: Data, asked: Params, tmp_path: Path) -> None:
    write_flow(
        data.shards, tmp_path / "flow", tmp_path / "cache", data.flow, interval=asked.task.flow_interval,
        models=["two_stream"], workers=1,
    )  # fmt: skip
    known = Data(data.shards, data.train, data.val, data.task, data.flow, tmp_path / "flow")
    run = Trainer(
        zoo.build("two_stream", {"width": 8}, data.task),
        known,
        asked.train,
        steps=2,
        device=CPU,
        folder=tmp_path / "run",
    )
    assert run.stored is not None
    assert run.stored.interval == 2
    run.run()


@pytest.mark.parametrize("wrong", [{"context": 5}, {"context": 2, "horizon": 2}])
def test_params_must_ask_for_three_frames(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="set context to 2 and horizon to 1"):
        TaskParams(kind="interpolate", **wrong)
