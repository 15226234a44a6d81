"""The verdict on a classifier: a video is judged by all its windows, with intervals, per class and in pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.shapes import COLOURS, write_colours
from vidpred.config import Params
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.evaluation.classes import by_video, judged
from vidpred.evaluation.classify import evaluate_classes, headline_of_classes
from vidpred.evaluation.confusion import confusion_of, per_class
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.types import Classifier, Scores, Task

CLASSES = ["a", "b", "c"]


def test_what_is_believed_of_the_windows_of_a_video_is_averaged() -> None:
    rows = pd.DataFrame(
        {
            "source": ["x", "x", "y"], "group": ["g", "g", "h"], "label": ["a", "a", "b"],
            "p0": [0.9, 0.2, 0.5], "p1": [0.1, 0.5, 0.3], "p2": [0.0, 0.3, 0.2],
        }
    )  # fmt: skip
    videos = by_video(rows, CLASSES)
    assert videos["source"].to_list() == ["x", "y"]
    assert videos["windows"].to_list() == [2, 1]
    np.testing.assert_allclose(videos["p0"], [0.55, 0.5])
    assert videos["predicted"].to_list() == ["a", "a"]
    assert videos["top1"].to_list() == [1, 0]
    np.testing.assert_allclose(videos["cross_entropy"], -np.log([0.55, 0.3]))


def test_a_tie_is_no_right_answer() -> None:
    found = judged(np.full((2, 3), 1 / 3), ["a", "b"], CLASSES)
    assert found["top1"].tolist() == [0, 0]
    assert found["top5"].tolist() == [1, 1]


def test_figures_of_each_class() -> None:
    matrix = confusion_of(["a", "a", "a", "b"], ["a", "b", "b", "b"], CLASSES)
    assert matrix.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]
    found = per_class(matrix, CLASSES)
    assert found["a"] == {
        "videos": 3, "recall": pytest.approx(1 / 3), "precision": 1.0, "f1": 0.5, "taken_for": "b"
    }  # fmt: skip
    assert found["b"]["precision"] == pytest.approx(1 / 3)
    assert found["c"] == {"videos": 0, "recall": None, "precision": None, "f1": None, "taken_for": None}


class ByColour(Classifier):
    """Knows the classes of `COLOURS`, but for one, which it takes for another."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(50.0))

    def forward(self, clip: torch.Tensor, flow: torch.Tensor | None = None) -> Scores:
        bright = clip.mean(dim=(1, 3, 4))
        bits = torch.tensor([[bits >> c & 1 for c in range(3)] for bits in COLOURS.values()]).float()
        logits = -self.scale * (bright[:, None] - (0.17 + 0.47 * bits)).square().sum(dim=2)
        logits[:, 4] -= 100  # never red
        return Scores(logits)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # so many groups that test has the twenty that a claim needs
    return write_colours(tmp_path_factory.mktemp("colours"), groups=90)


@pytest.fixture
def asked(params: Params) -> Params:
    raw = params.model_dump(by_alias=True)
    raw["task"] |= {"kind": "classify", "context": 2, "interval": 2}
    raw["evaluate"] |= {"pictures": 4, "windows_per_clip": 2}
    return Params.model_validate(raw)


def test_the_verdict_on_a_model_that_knows_all_but_one_class(
    colours: Path, asked: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = Shards(colours / "shards")
    task = Task(context=2, horizon=0, height=32, width=32, interval=2, kind="classify", classes=tuple(COLOURS))
    built = zoo.build("single_frame", {}, task, Classifier)
    info = {"data_id": shards.data_id, "fps": 10.0, "fit": "crop"}
    save_model(tmp_path / "model", built, name="single_frame", config={}, task=task, info=info)
    loaded = json.loads((tmp_path / "model/model.json").read_text())
    # another network in its place: what it knows can be said beforehand
    monkeypatch.setattr("vidpred.evaluation.classify.load_model", lambda *_: (ByColour().eval(), loaded))
    figures = evaluate_classes(
        tmp_path / "model", shards_folder=colours / "shards", split=colours / "split", by_time=False,
        out=tmp_path / "out", params=asked, device=torch.device("cpu"),
    )  # fmt: skip
    json.dumps(figures, allow_nan=False)
    mine = figures["test"]["single_frame"]
    assert mine["top1"] == pytest.approx(5 / 6)
    assert figures["test"]["majority"]["top1"] == pytest.approx(1 / 6)
    assert figures["windows"] == 2 * figures["videos"]
    assert figures["beats_majority"]
    assert figures["over_majority"]["pooled"] == pytest.approx(4 / 6)
    assert figures["classes_of_test"]["red"]["recall"] == 0
    assert figures["classes_of_test"]["green"]["recall"] == 1
    low, high = figures["top1_interval"]
    assert low <= mine["top1"] <= high
    assert headline_of_classes(figures)["top1"] == pytest.approx(5 / 6, abs=1e-4)
    table = pd.read_csv(tmp_path / "out/pictures/confusion.csv", index_col="true")
    assert table.to_numpy().sum() == figures["videos"]
    assert table.loc["red", "red"] == 0
    with Image.open(tmp_path / "out/pictures/confusion.png") as drawn:
        assert min(drawn.size) > 200
    captions = json.loads((tmp_path / "out/pictures/pictures.json").read_text())
    assert len(captions) == 4
    assert [caption["label"] == caption["predicted"] for caption in captions] == [False, False, True, True]
    for i in range(4):
        with Image.open(tmp_path / f"out/pictures/{i}.gif") as moving:
            assert moving.info["duration"] == 200  # ms: every second frame of ten a second
        assert (tmp_path / f"out/pictures/{i}.png").is_file()


def test_a_model_of_other_classes_is_refused(colours: Path, asked: Params, tmp_path: Path) -> None:
    task = Task(context=2, horizon=0, height=32, width=32, interval=2, kind="classify", classes=("x", "y"))
    save_model(
        tmp_path, zoo.build("single_frame", {}, task, Classifier), name="single_frame", config={}, task=task, info={}
    )
    with pytest.raises(UserError, match="the model is for another task: other classes"):
        evaluate_classes(
            tmp_path, shards_folder=colours / "shards", split=colours / "split", by_time=False, out=tmp_path / "out",
            params=asked, device=torch.device("cpu"),
        )  # fmt: skip
