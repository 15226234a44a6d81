"""`vidpred visualize`: the files that it writes, what it says, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from vidpred.cli import app
from vidpred.data.encode import write_gif
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.types import Classifier, Task

TASK = Task(context=4, horizon=0, height=24, width=24, kind="classify", classes=("run", "sit / lie", "walk"))


def saved(folder: Path, name: str, seed: int = 0, task: Task = TASK) -> Path:
    torch.manual_seed(seed)
    built = zoo.build(name, {}, task, Classifier)
    save_model(folder, built, name=name, config={}, task=task, info={"data_id": "x", "fps": 10.0, "fit": "crop"})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model"), "two_stream")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "a cat.gif"
    frames = np.random.default_rng(0).integers(0, 8, (9, 30, 30, 1), dtype=np.uint8) * 30
    write_gif(path, frames.repeat(3, axis=-1), 10)
    return path


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["visualize", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def frames_in(path: Path) -> int:
    with Image.open(path) as picture:
        return int(getattr(picture, "n_frames", 1))


def test_all_of_a_model_and_a_clip(model: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/looks"
    told = run(model, "--clip", clip, "--steps", 2, "-o", out, "--judge", saved(tmp_path / "other", "two_stream", 1))
    said = json.loads((out / "visualize.json").read_text())
    assert said["complete"]
    assert [(row["label"], row["motion"]) for row in said["ascent"]] == [
        (name, motion) for name in TASK.classes for motion in ("slow", "free")
    ]
    for row in said["ascent"]:
        assert row["judged"]["answer"] in TASK.classes
        with np.load(out / row["arrays"], allow_pickle=False) as arrays:
            clip_found, flow = arrays["clip"], arrays["flow"]
        assert clip_found.shape == (4, 24, 24, 3)
        # things go where flow does not lead back to
        assert row["going"] == pytest.approx([-flow[:, i].mean() for i in range(2)], abs=1e-4)
        assert frames_in(out / row["pictures"]["arrows"]) == frames_in(out / row["pictures"]["colours"]) == 3
        assert (out / row["pictures"]["clip"]).is_file()
    (row,) = said["saliency"]
    assert row["answer"] == row["towards"]
    assert row["missing"] < 0.05
    assert {kernels["of"] for kernels in said["kernels"]} == {"clip", "flow"}
    page = (out / "index.html").read_text()
    assert "sit / lie" in page
    assert f"{clip}" in told
    for path in out.rglob("*.gif"):
        assert path.relative_to(out).as_posix() in page or path.stem.endswith("colours")


@pytest.mark.parametrize("interval", [1, 2])
def test_the_found_clip_of_a_model_without_flow_can_be_classified(interval: int, tmp_path: Path) -> None:
    """It is shown as fast as clips are whose every second frame the model looks at."""
    model = saved(tmp_path / "model", "slow_fusion", task=dataclasses.replace(TASK, interval=interval))
    run(model, "--what", "ascent", "--class", "walk", "--steps", 2, "-o", tmp_path / "out")
    (row,) = json.loads((tmp_path / "out/visualize.json").read_text())["ascent"]
    done = CliRunner().invoke(app, ["classify", str(model), str(tmp_path / "out" / row["pictures"]["clip"]), "--json"])
    assert set(json.loads(done.stdout)["scores"]) == set(TASK.classes)


def test_it_writes_anew_what_it_wrote_and_touches_no_other_folder(model: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("words")
    with pytest.raises(UserError, match="holds other things"):
        run(model, "--what", "kernels", "-o", mine)
    assert (mine / "thesis.txt").read_text() == "words"
    run(model, "--what", "kernels", "-o", tmp_path / "out")
    run(model, "--what", "ascent", "--class", "run", "--steps", 1, "--motion", "slow", "-o", tmp_path / "out")
    assert not (tmp_path / "out/kernels").exists()
    assert len(json.loads((tmp_path / "out/visualize.json").read_text())["ascent"]) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--class", "fly"], "no class is called 'fly': there are run, sit / lie, walk"),
        (["--what", "saliency"], "name one with --clip"),
        (["--what", "kernels", "--clip", "x.gif"], "--clip is for saliency"),
        (["--clip", "nowhere.gif"], "nowhere.gif"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(model: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(model, *arguments, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder_for_what_is_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gif").write_text("words")
    for name, what in (("text.gif", "is a file"), ("new.png", "is the name of a file")):
        with pytest.raises(UserError, match=rf"{name} {what}, but .* name a folder, such as {tmp_path}/\w+$"):
            run(model, "--what", "kernels", "-o", tmp_path / name)
    assert (tmp_path / "text.gif").read_text() == "words"
    with pytest.raises(UserError, match=r"^--judge: nowhere is no folder"):
        run(model, "--what", "ascent", "--steps", 1, "--judge", "nowhere", "-o", tmp_path / "out")


def test_a_judge_for_another_task_is_refused(model: Path, tmp_path: Path) -> None:
    other = Task(context=4, horizon=0, height=24, width=24, kind="classify", classes=("yes", "no"))
    with pytest.raises(UserError, match="other classes"):
        run(model, "--judge", saved(tmp_path / "other", "slow_fusion", task=other), "-o", tmp_path / "out")


def test_a_model_that_predicts_is_refused(tmp_path: Path) -> None:
    task = Task(context=3, horizon=1, height=32, width=32)
    save_model(tmp_path, zoo.build("conv2d", {}, task), name="conv2d", config={}, task=task, info={})
    with pytest.raises(UserError, match="predicts"):
        run(tmp_path, "-o", tmp_path / "out")
