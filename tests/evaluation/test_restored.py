"""Pictures of what a model makes of frames that it is shown: what it gives back of them, what it expected of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vidpred.config import Params
from vidpred.evaluation.evaluate import RESTORED, evaluate
from vidpred.evaluation.pictures import GAP, GREEN, GREY, write_restored
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.types import Task


def test_frames_stand_above_what_was_given_back(tmp_path: Path) -> None:
    frames, restored = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 48, 3), np.uint8)
    write_restored(tmp_path / "a.png", frames, restored)
    shown = np.asarray(Image.open(tmp_path / "a.png"))
    assert shown.shape == (2 * (64 + 2 * GAP), 3 * (48 + 2 * GAP), 3)
    np.testing.assert_array_equal(shown[GAP : GAP + 64, GAP : GAP + 48], frames[0])
    np.testing.assert_array_equal(shown[-GAP - 64 : -GAP, -GAP - 48 : -GAP], restored[2])
    assert tuple(shown[0, 0]) == GREY
    assert tuple(shown[-1, -1]) == GREEN


@pytest.mark.parametrize(("name", "shown"), [("vae_lstm", True), ("conv2d", False)])
def test_evaluation_shows_both_where_a_model_has_them(
    name: str, shown: bool, digits: Path, params: Params, tmp_path: Path
) -> None:
    task = Task(context=5, horizon=1, height=32, width=32)
    save_model(tmp_path / "model", zoo.build(name, {}, task), name=name, config={}, task=task, info={"data_id": ""})
    small = params.evaluate.model_copy(update={"windows_per_clip": 1, "rollout": 2, "pictures": 2})
    evaluate(
        tmp_path / "model", shards_folder=digits / "shards", split=digits / "split", by_time=False,
        out=tmp_path / "out", params=params.model_copy(update={"evaluate": small}), device=torch.device("cpu"),
    )  # fmt: skip
    # of the five frames seen, a model that reads one by one shows what it expected instead of all but the first
    strip = np.asarray(Image.open(tmp_path / "out/pictures/0.png"))
    borders = [tuple(strip[-1, place * (64 + 2 * GAP)]) for place in range(7)]
    assert borders == [GREY, *[GREEN if shown else GREY] * 4, GREEN, GREEN]
    with Image.open(tmp_path / "out/pictures/0.gif") as moving:
        assert moving.n_frames == 5 + 2
    picture = tmp_path / "out/pictures/restored.png"
    assert picture.is_file() == shown
    if shown:
        height, width = np.asarray(Image.open(picture)).shape[:2]
        assert height == 2 * (64 + 2 * GAP)
        assert width % (64 + 2 * GAP) == 0
        assert 1 < width // (64 + 2 * GAP) <= RESTORED
