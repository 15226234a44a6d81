"""What a result looks like: strips, arrays, several models beside each other, where they erred."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.serving.clips import SIDE, clip, moving_on
from vidpred.data import encode, launch, media
from vidpred.errors import UserError
from vidpred.evaluation.pictures import GAP, GREEN, GREY
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.serving.heat import coloured, error_maps, scale_of
from vidpred.serving.panels import SIDE as COLUMN
from vidpred.serving.predict import predict_files
from vidpred.types import Task

TILE = 96 + 2 * GAP


@pytest.fixture
def cat(folder: Path) -> Path:
    """A clip of twelve frames."""
    encode.write_gif(folder / "cat.gif", clip(12), 10)
    return folder / "cat.gif"


@pytest.fixture
def copier(folder: Path) -> str:
    """A model that repeats the last frame."""
    task = Task(context=5, horizon=1, height=SIDE, width=SIDE)
    save_model(folder / "copier", zoo.build("copy_last", {}, task), name="copy_last", config={}, task=task,
               info={"fps": 10.0})  # fmt: skip
    return "copier"


def test_an_array_is_the_predicted_frames_alone(
    folder: Path, model: str, cat: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert predict_files(model, [cat], frames=4, output=folder / "out.npy") == 0
    assert caplog.messages == [f"{folder}/out.npy: 4 frames, predicted from the last 3 of cat.gif"]
    frames = np.load(folder / "out.npy", allow_pickle=False)
    assert frames.dtype == np.uint8
    assert (frames == clip(16)[12:]).all()
    assert predict_files(model, [folder / "out.npy"], frames=2, output=folder / "further.npy") == 0  # and can be read
    assert (np.load(folder / "further.npy") == clip(18)[16:]).all()
    assert predict_files(model, [cat], frames=4, output=folder / "own.npy", side_by_side=True) == 0
    assert (np.load(folder / "own.npy") == clip(12)[8:]).all()


def test_a_strip_shows_what_was_seen_and_what_was_made(folder: Path, model: str, cat: Path) -> None:
    assert predict_files(model, [cat], frames=4, kind="png") == 0
    sheet = np.asarray(Image.open(folder / "cat-predicted.png").convert("RGB"))
    tiles = sheet[-TILE:, -7 * TILE :].reshape(TILE, 7, TILE, 3).swapaxes(0, 1)
    assert [tuple(tile[0, 0]) for tile in tiles] == [GREY] * 3 + [GREEN] * 4
    assert (tiles[:, GAP:-GAP:3, GAP:-GAP:3] == clip(16)[9:]).all()
    assert predict_files(model, [cat], frames=4, kind="png", side_by_side=True) == 0
    twice = np.asarray(Image.open(folder / "cat-predicted.png").convert("RGB"))
    above, below = twice[-2 * TILE : -TILE, -7 * TILE :], twice[-TILE:, -7 * TILE :]
    assert tuple(above[0, 0]) == tuple(above[0, -1]) == GREY
    assert (above[GAP:-GAP, -TILE + GAP : -GAP] == below[GAP:-GAP, -TILE + GAP : -GAP]).all()


def test_models_beside_each_other_and_the_truth(
    folder: Path, model: str, copier: str, cat: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert predict_files(model, [cat], frames=4, output=folder / "out.gif", compare=[copier], heatmap=True) == 0
    assert f"{model}: PD 0.00, PSNR 60.00 dB; copier: PD " in caplog.text
    facts = media.facts(folder / "out.gif", ffmpeg=launch.ffmpeg_binary())
    assert facts.width == 3 * (COLUMN + 2 * GAP)
    frames = media.decode(folder / "out.gif", height=facts.height, width=facts.width, ffmpeg=launch.ffmpeg_binary())
    right, copied = np.split(frames[-1, -(COLUMN + 2 * GAP) :], 3, axis=1)[1:]  # the row of heat
    inner = slice(GAP + 2, -GAP - 2)
    assert right[inner, inner].max() < 12  # nothing is wrong
    assert copied[inner, inner].max() > 150
    caplog.clear()
    for length, note in (
        (6, "1 instead of 4 frames predicted: it has 6, the model looks at 5, and there is no more to compare with"),
        (5, "there is no heat map, nor anything to compare with: the model looks at all of its 5 frames"),
    ):
        caplog.clear()
        short = folder / f"{length}.gif"
        encode.write_gif(short, clip(length), 10)
        with caplog.at_level(logging.INFO):
            assert predict_files(model, [short], frames=4, kind="png", compare=[copier], heatmap=True) == 0
        said = [record.getMessage() for record in caplog.records]
        assert said[0] == f"{short}: {note}"  # before the line that says where the picture is
        assert said[1].startswith(f"{length}-predicted.png: 5 frames of {length}.gif, then {1 if length == 6 else 4} ")


def test_figures_of_many_clips_in_the_mean(folder: Path, model: str, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.gif", "b.gif"):
        encode.write_gif(folder / name, clip(12), 10)
    with caplog.at_level(logging.INFO):
        assert predict_files(model, [folder / "a.gif", folder / "b.gif"], frames=2, side_by_side=True) == 0
    assert "mean of 2 clips: PD 0.00 (copying the last frame: " in caplog.text


def test_the_mean_of_what_a_heat_map_shows_is_pd() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    grey = np.clip(truth.astype(int) + 10, 0, 255).astype(np.uint8)
    maps = error_maps(grey, truth)
    assert maps.shape == (2, 16, 16)
    assert 20 < maps.mean() <= 30.1  # a grey error of 10 levels is about 30
    assert scale_of(maps) == 50
    assert scale_of(np.zeros((2, 4, 4))) == 10
    shades = coloured(np.array([0.0, 25.0, 50.0, 500.0]), 50).sum(axis=-1)
    assert shades[0] < 12
    assert list(shades) == sorted(shades)


def test_models_that_cannot_be_compared(folder: Path, model: str, cat: Path) -> None:
    faster = str(moving_on(folder / "faster", fps=20.0))
    skipping = str(moving_on(folder / "skipping", interval=2))
    with pytest.raises(UserError, match=r"cannot be compared: frames per second 10.0 and 20.0: give --fps"):
        predict_files(model, [cat], frames=2, compare=[faster])
    assert predict_files(model, [cat], frames=2, compare=[faster], fps=10) == 0
    with pytest.raises(UserError, match=r"cannot be compared: interval 1 and 2"):
        predict_files(model, [cat], frames=2, compare=[skipping])
    with pytest.raises(UserError, match="--compare names a model twice"):
        predict_files(model, [cat], frames=2, compare=[model])
    with pytest.raises(UserError, match=r"--compare: an .npy holds the frames of one model"):
        predict_files(model, [cat], frames=2, compare=[faster], kind="npy")
