"""The filmstrip of learning: a picture for each validation, the same windows in each, whole after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vidpred.config import Params, TrainParams
from vidpred.data.clips import evenly
from vidpred.models import zoo
from vidpred.training.data import Data, read_data
from vidpred.training.filmstrip import CLIPS, FOLDER, GAP, ROWS, add_row, copy_rows
from vidpred.training.loop import Stopped, Trainer


@pytest.fixture
def data(digits: Path, params: Params) -> Data:
    return read_data(digits / "shards", digits / "split", params)


def trainer(data: Data, params: Params, folder: Path, *, steps: int = 6, every: int = 2) -> Trainer:
    changes: dict[str, Any] = {"batch_size": 4, "evaluate_every": every, "warmup_steps": 1, "learning_rate": 0.05}
    train = TrainParams.model_validate(params.train.model_dump() | changes)
    torch.manual_seed(0)
    model = zoo.build("conv2d", {}, data.task)
    return Trainer(model, data, train, steps=steps, device=torch.device("cpu"), folder=folder, checkpoint_every=2)


def draw(trainer: Trainer, _: object) -> None:
    add_row(trainer)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_there_is_a_picture_for_each_validation_and_one_of_the_truth(
    data: Data, params: Params, tmp_path: Path
) -> None:
    run = trainer(data, params, tmp_path / "run")
    run.run(on_evaluation=draw)
    folder = tmp_path / "run" / FOLDER
    steps = ["00000002.png", "00000004.png", "00000006.png"]
    assert sorted(path.name for path in folder.iterdir()) == [*steps, "seen.png", "truth.png"]
    clips = min(CLIPS, len(data.val))
    pictures = {path.name: pixels(path) for path in folder.iterdir()}
    assert {picture.shape for picture in pictures.values()} == {(32, clips * (32 + GAP) - GAP, 3)}
    first, last, truth = (pictures[name].astype(int) for name in (steps[0], steps[-1], "truth.png"))
    assert (first != last).any()  # it has learned something
    shown = evenly(data.val, CLIPS)[0]
    assert (truth[:, :32] == data.shards.frames(shown.clip, shown.start + 5, 1)[0]).all()


def test_a_resumed_run_has_the_pictures_of_an_unbroken_one(data: Data, params: Params, tmp_path: Path) -> None:
    trainer(data, params, tmp_path / "whole").run(on_evaluation=draw)
    first = trainer(data, params, tmp_path / "broken")
    with pytest.raises(Stopped):
        first.run(on_evaluation=draw, should_stop=lambda: first.step >= 3)
    trainer(data, params, tmp_path / "broken").run(on_evaluation=draw)
    whole, broken = (
        {path.name: path.read_bytes() for path in (tmp_path / name / FOLDER).iterdir()} for name in ("whole", "broken")
    )
    assert whole == broken


def test_beside_the_model_are_the_first_the_last_and_the_best_and_not_too_many(
    data: Data, params: Params, tmp_path: Path
) -> None:
    run = trainer(data, params, tmp_path / "run", steps=20, every=1)
    run.run(on_evaluation=draw)
    copy_rows(run, tmp_path / "model" / FOLDER)
    names = sorted(path.stem for path in (tmp_path / "model" / FOLDER).iterdir())
    assert names[-2:] == ["seen", "truth"]
    steps = [int(name) for name in names[:-2]]
    assert {1, 20, int(run.best["step"])} <= set(steps)
    assert ROWS <= len(steps) <= ROWS + 1


def test_a_run_that_drew_nothing_has_no_folder(data: Data, params: Params, tmp_path: Path) -> None:
    run = trainer(data, params, tmp_path / "run")
    run.run()
    copy_rows(run, tmp_path / "none")
    assert not (tmp_path / "none").exists()
