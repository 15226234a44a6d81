"""`vidpred classify`: which class clips are of, in words and as JSON, and what it says of clips that it cannot take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import vidpred
from tests.serving.clips import transparent
from vidpred.cli import app
from vidpred.data.encode import write_gif
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.serving.classify import ClipClassifier
from vidpred.types import Classifier, Task

TASK = Task(context=4, horizon=0, height=32, width=32, kind="classify", interval=2, classes=("run", "sit", "walk"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    built = zoo.build("early_fusion", {}, TASK, Classifier)
    info = {"data_id": "x", "fps": 10.0, "fit": "crop"}
    save_model(folder, built, name="early_fusion", config={}, task=TASK, info=info)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.gif"
    frames = np.random.default_rng(0).integers(0, 8, (20, 40, 40, 1), dtype=np.uint8) * 30
    write_gif(path, frames.repeat(3, axis=-1), 10)
    return path


def test_scores_are_the_mean_over_windows(model: Path, clip: Path) -> None:
    ready = ClipClassifier.load(model, device="cpu")
    frames = ready.read(clip)
    assert frames.shape == (20, 32, 32, 3)
    both = ready.scores(frames, windows=2)
    first, last = (ready.scores(part, windows=1) for part in (frames[:7], frames[-7:]))
    assert list(both) == ["run", "sit", "walk"]
    assert sum(both.values()) == pytest.approx(1, abs=1e-5)
    for name, share in both.items():
        assert share == pytest.approx((first[name] + last[name]) / 2, abs=1e-5)
    with pytest.raises(UserError, match="6 frames, and the model looks at 7: give a longer clip"):
        ready.scores(frames[:6])


def test_a_classifier_in_one_line_says_names_with_probabilities(model: Path, clip: Path) -> None:
    ready = vidpred.load(model, device="cpu")
    assert isinstance(ready, ClipClassifier)
    assert (ready.task.kind, ready.fps) == ("classify", 10.0)
    frames = ready.read(clip)
    said = ready.classify(frames)
    assert said.probabilities == ready.scores(frames)
    assert list(said.probabilities.values()) == sorted(said.probabilities.values(), reverse=True)
    assert said.probability == said.probabilities[said.name] == max(said.probabilities.values())
    assert list(said.top(2)) == list(said.probabilities)[:2]
    assert ready.classify(frames, windows=1).probabilities == ready.scores(frames, windows=1)
    large = frames.repeat(2, axis=1).repeat(2, axis=2)
    assert ready.classify(large, resize=True).probabilities.keys() == {"run", "sit", "walk"}
    with pytest.raises(ValueError, match="resize=True brings them to that size, as in training"):
        ready.classify(large)
    with pytest.raises(ValueError, match="RGB from 0 to 255"):
        ready.classify(frames.astype(np.float32))
    with pytest.raises(UserError, match="6 frames, and the model looks at 7: give a longer clip"):
        ready.classify(frames[:6])
    with pytest.raises(UserError, match="cannot score 0 windows: ask for at least 1"):
        ready.classify(frames, windows=0)
    with pytest.raises(UserError, match="it predicts no frames: ask for `classify`"):
        ready.predict(frames, steps=8)


def test_a_model_that_predicts_knows_no_classes(tmp_path: Path) -> None:
    task = Task(context=3, horizon=1, height=32, width=32)
    save_model(tmp_path, zoo.build("conv2d", {}, task), name="conv2d", config={}, task=task, info={})
    with pytest.raises(UserError, match="this model knows no classes, it predicts: ask for `predict`"):
        vidpred.load(tmp_path, device="cpu").classify(np.zeros((8, 32, 32, 3), np.uint8))


def test_what_shows_through_is_what_it_was_in_training(tmp_path: Path) -> None:
    built = zoo.build("early_fusion", {}, TASK, Classifier)
    info = {"data_id": "x", "fps": 10.0, "background": "#2040c0"}
    save_model(tmp_path / "m", built, name="early_fusion", config={}, task=TASK, info=info)
    frames = ClipClassifier.load(tmp_path / "m", device="cpu").read(transparent(tmp_path / "cat.gif"))
    assert tuple(frames[0, 1, 1]) == (0x20, 0x40, 0xC0)


def test_the_command_tells_each_clip_and_stops_at_none(model: Path, clip: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["classify", str(model), str(clip), "--top", "2"])
    assert done.exit_code == 0, done.output
    name, _, told = done.stdout.strip().partition(": ")
    assert name == str(clip)
    assert told.count(" %") == 2
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    done = CliRunner().invoke(app, ["classify", str(model), str(tmp_path / "broken.gif"), str(clip), "--json"])
    assert done.exit_code == 1
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["clip"] == str(clip)
    assert found["class"] == max(found["scores"], key=found["scores"].__getitem__)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{model}", "{clip}", "--device", "gpu"], "torch has no device gpu here: take auto or cpu"),
        (["nosuchmodel", "{clip}"], "nosuchmodel: no such model folder, GIF or video"),
        (["{model}", "{folder}"], "is a folder: name its clips, such as"),
        (["{model}", "{clip}", "--truth", "{truth}"], "has no true segments of {clip}: it names other.mp4"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(
    model: Path, clip: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "truth.csv").write_text("video,start,end,label\nother.mp4,0,1,a\n")
    names = {"model": model, "clip": clip, "folder": tmp_path, "truth": tmp_path / "truth.csv"}
    done = CliRunner().invoke(app, ["classify", *(argument.format(**names) for argument in arguments)])
    assert isinstance(done.exception, UserError)
    assert said.format(**names) in str(done.exception)


def test_a_model_that_predicts_is_refused(tmp_path: Path) -> None:
    task = Task(context=3, horizon=1, height=32, width=32)
    save_model(tmp_path, zoo.build("conv2d", {}, task), name="conv2d", config={}, task=task, info={})
    with pytest.raises(UserError, match="predicts"):
        ClipClassifier.load(tmp_path, device="cpu")
    done = CliRunner().invoke(app, ["classify", str(tmp_path)])
    assert "name a GIF or video" in str(done.exception)
