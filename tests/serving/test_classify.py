"""`vidpred classify`: which class clips are of, in words and as JSON, and what it says of clips that it cannot take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import vidpred
from tests.serving.clips import transparent
from vidpred.cli import app
from vidpred.data.encode import write_gif, write_video
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
        ([], "no clips: name GIFs, videos or folders of them, or give --files-from"),
        (["{clip}", "{model}"], "is a clip, and MODEL comes first: `vidpred classify {model} {clip}`"),
        (["nosuchmodel", "{clip}"], "nosuchmodel: no such model folder, GIF or video"),
        (["vidpred-classify@champion", "{clip}"], "did you mean models:/vidpred-classify@champion?"),
        (["{model}", "{clip}", "-", "--files-from", "-"], "standard input (-) can be read once only"),
        (["{model}", "{clip}", "-o", "all.srt", "--localise", "none"], "a table of classes, -o classes.csv"),
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


def folder_of(folder: Path, clip: Path) -> Path:
    """Three clips that can be used, and three files that cannot."""
    (folder / "clips/more").mkdir(parents=True)
    (folder / "clips/a.gif").write_bytes(clip.read_bytes())
    frames = np.random.default_rng(1).integers(0, 255, (30, 40, 40, 3), np.uint8)
    write_video(folder / "clips/more/b.mp4", frames, 10)
    write_gif(folder / "clips/more/long.gif", frames.repeat(3, axis=0)[:80], 10)
    write_gif(folder / "clips/short.gif", frames[:5], 10)
    (folder / "clips/broken.gif").write_bytes(b"GIF89a")
    Image.fromarray(frames[0]).save(folder / "picture.png")
    return folder / "clips"


def test_a_folder_gives_a_table_of_all_and_what_cannot_be_used_stops_none(
    model: Path, clip: Path, tmp_path: Path
) -> None:
    clips, table = folder_of(tmp_path, clip), tmp_path / "out/classes.csv"
    asked = [str(model), str(clips), str(tmp_path / "*.png"), str(tmp_path / "none*.gif")]
    done = CliRunner().invoke(app, ["classify", *asked, "-o", str(table), "--top", "2"])
    assert done.exit_code == 1, done.output
    for said in (
        f"{tmp_path / 'none*.gif'}: no file matches it",
        f"{clips / 'short.gif'} is too short: 5 frames at 10 per second, the model looks at 7 (4, 2 apart)",
        f"{tmp_path / 'picture.png'}",
        f"{clips / 'broken.gif'}: ",
    ):
        assert said in done.stderr
    assert "3 of 7 clips done" in done.stderr
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["clip", "class", "sure"]
    assert lines[0].split()[0] == str(clips / "a.gif")
    assert lines[0].count(" %") == 2
    assert len({line.index(" %") for line in lines[:2]}) == 1  # in columns
    assert lines[2].startswith(f"{clips / 'more/long.gif'}: 0:08.0 long")  # of more than eight windows

    found = pd.read_csv(table)
    assert list(found.columns) == ["clip", "start", "end", "class", "score", "run", "sit", "walk"]
    assert str(clips / "more/long.gif") in set(found["clip"])  # with or without segments
    whole = found[found["start"].isna() & found["class"].notna()].set_index("clip")
    assert list(whole.index) == [str(clips / "a.gif"), str(clips / "more/b.mp4")]
    ready = ClipClassifier.load(model, device="cpu")
    for path in whole.index:
        wanted = ready.scores(ready.read(Path(path)))
        assert whole.loc[path, list(wanted)].to_dict() == pytest.approx(wanted, abs=1e-5)
        assert whole.loc[path, "class"] == max(wanted, key=wanted.__getitem__)

    done = CliRunner().invoke(app, ["classify", *asked[:2], "--json", "--localise", "none"])
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(one["clip"]).name for one in told] == ["a.gif", "b.mp4", "long.gif"]
    assert told[0]["scores"]["run"] == pytest.approx(whole.iloc[0]["run"], abs=1e-5)


def test_a_clip_on_standard_input_and_a_list_of_paths(model: Path, clip: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["classify", str(model), "-"], input=clip.read_bytes())
    assert (done.exit_code, done.stdout.partition(":")[0]) == (0, "standard input"), done.output
    listed = b"\0".join([bytes(clip), bytes(tmp_path / "none.gif")])
    done = CliRunner().invoke(app, ["classify", str(model), "--files-from", "-"], input=listed)
    assert done.exit_code == 1
    assert str(clip) in done.stdout
    short = tmp_path / "short.gif"
    write_gif(short, np.zeros((5, 40, 40, 3), np.uint8), 10)
    done = CliRunner().invoke(app, ["classify", str(model), "-", "--localise", "sliding"], input=short.read_bytes())
    assert done.exit_code == 1


def test_an_address_in_the_net_is_told_how_to_pipe(model: Path) -> None:
    done = CliRunner().invoke(app, ["classify", str(model), "https://example.org/cat.gif"])
    assert done.exit_code == 1
    assert "curl -sL https://example.org/cat.gif | vidpred classify -" in " ".join(done.stderr.split())


def test_the_model_of_the_project_is_taken_where_none_is_named(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").touch()
    Path("params.yaml").touch()
    shutil.copytree(model, "models/trained")
    Path("clips").mkdir()
    shutil.copy(clip, "clips/one.gif")
    for name in ("clips", "clips/*.gif", "clips/one.gif"):  # a folder without a model is one of clips
        done = CliRunner().invoke(app, ["classify", name])
        assert done.exit_code == 0, done.output
        assert "clips/one.gif" in done.stdout
