"""Files in, their continuation out; and one line for each thing that cannot be."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import vidpred
from tests.serving.clips import SIDE, clip, inside, moving_on, read, transparent
from vidpred.config import FlowParams
from vidpred.data import encode, launch, media
from vidpred.data.clips import flow_for
from vidpred.errors import UserError
from vidpred.evaluation.pictures import GAP, GREEN, GREY
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.serving.following import following
from vidpred.serving.predict import predict_files
from vidpred.serving.predictor import FramePredictor
from vidpred.types import Task, to_float


def test_continuation_follows_the_clip(folder: Path, model: str) -> None:
    whole = clip(15)
    encode.write_gif(folder / "cat.gif", whole[:10], 10)
    assert predict_files(model, [folder / "cat.gif"], frames=5, output=folder / "out.gif") == 0
    out = read(folder / "out.gif")
    assert (inside(out) == whole).all()
    assert [tuple(frame[0, 0]) for frame in out] == [GREY] * 10 + [GREEN] * 5
    assert media.facts(folder / "out.gif", ffmpeg=launch.ffmpeg_binary()).fps == 10


def test_side_by_side_shows_and_tells_how_right_it_was(
    folder: Path, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    encode.write_gif(folder / "cat.gif", clip(12), 10)
    with caplog.at_level(logging.INFO):
        assert predict_files(model, [folder / "cat.gif"], frames=4, output=folder / "out.gif", side_by_side=True) == 0
    out = read(folder / "out.gif", width=2 * (SIDE + 2 * GAP))
    left, right = np.split(out, 2, axis=2)
    assert (inside(left) == clip(12)).all()
    assert (inside(right) == clip(12)).all()
    assert [tuple(frame[0, 0]) for frame in right] == [GREY] * 8 + [GREEN] * 4
    assert "PD 0.00 (copying the last frame: " in caplog.text
    assert "PSNR 60.00 dB" in caplog.text


def test_a_clip_that_stands_still_at_its_end_says_so(
    folder: Path, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    encode.write_gif(folder / "cat.gif", np.concatenate([clip(8), clip(8)[-1:].repeat(4, axis=0)]), 10)
    with caplog.at_level(logging.INFO):
        assert predict_files(model, [folder / "cat.gif"], frames=2, output=folder / "out.gif", side_by_side=True) == 0
    assert caplog.text.rstrip().endswith("nothing moves in what happened")


def test_what_shows_through_is_what_it_was_in_training(folder: Path) -> None:
    for colour, seen in (("#2040c0", (0x20, 0x40, 0xC0)), ("white", (255, 255, 255))):
        model = moving_on(folder / colour.strip("#"), background=colour)
        assert predict_files(str(model), [transparent(folder / "cat.gif")], frames=1, output=folder / "out.gif") == 0
        corner = inside(read(folder / "out.gif"))[0, 1, 1]
        assert np.abs(corner.astype(int) - seen).max() <= 8, colour  # of a GIF's 256 colours
    models = [str(folder / "2040c0"), str(folder / "white")]
    with pytest.raises(UserError, match="cannot be compared: background #2040c0 and white"):
        predict_files(models[0], [folder / "cat.gif"], compare=models[1:], frames=1, output=folder / "o.gif")
    with pytest.raises(UserError, match="says background 'red'"):
        FramePredictor.load(moving_on(folder / "red", background="red"))


def test_clip_is_brought_to_the_models_size_and_rate(folder: Path, model: str) -> None:
    encode.write_mp4(folder / "wide.mp4", clip(40, height=64, width=128).repeat(2, axis=0), 20)
    assert predict_files(model, [folder / "wide.mp4"], frames=2, output=folder / "out.mp4") == 0
    assert len(read(folder / "out.mp4")) == 40 + 2
    assert predict_files(model, [folder / "wide.mp4"], frames=2, output=folder / "slow.mp4", fps=5) == 0
    assert len(read(folder / "slow.mp4")) == 20 + 2
    assert media.facts(folder / "slow.mp4", ffmpeg=launch.ffmpeg_binary()).fps == 5


def test_the_ffmpeg_of_the_system_will_do(folder: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import imageio_ffmpeg

    encode.write_gif(folder / "cat.gif", clip(8), 10)
    (folder / "bin").mkdir()
    (folder / "bin/ffmpeg").symlink_to(launch.ffmpeg_binary())

    def carries_none() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    with monkeypatch.context() as machine:
        machine.setattr(imageio_ffmpeg, "get_ffmpeg_exe", carries_none)
        machine.setenv("PATH", str(folder / "bin"))
        assert predict_files(model, [folder / "cat.gif"], frames=1, output=folder / "out.gif") == 0
    assert len(read(folder / "out.gif")) == 9


def test_clips_own_rate_where_the_model_has_none(folder: Path) -> None:
    encode.write_gif(folder / "cat.gif", clip(8), 20)
    model = moving_on(folder / "any rate", fps=None)
    assert predict_files(str(model), [folder / "cat.gif"], frames=1, output=folder / "out.gif") == 0
    assert len(read(folder / "out.gif")) == 9
    assert media.facts(folder / "out.gif", ffmpeg=launch.ffmpeg_binary()).fps == 20


def test_interval_is_kept(folder: Path) -> None:
    encode.write_gif(folder / "cat.gif", clip(8), 10)
    model = moving_on(folder / "every second", interval=2)
    assert predict_files(str(model), [folder / "cat.gif"], frames=1, output=folder / "out.gif") == 0
    out = inside(read(folder / "out.gif"))
    assert (out[:4] == clip(8)[1::2]).all()  # the last frame is always among them
    assert len(out) == 5


def test_folder_of_clips(folder: Path, model: str, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.gif", "b.mp4", "below/a.gif", "bad.gif", "short.gif"):
        path = folder / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        encode.write_video(path, clip(1 if name == "short.gif" else 6), 10)
    (folder / "clips" / "bad.gif").write_text("this is text")
    (folder / "clips" / "notes.txt").write_text("not meant")
    with caplog.at_level(logging.INFO):
        assert predict_files(model, [folder / "clips"], frames=1, output=folder / "out") == 1
    assert {p.name for p in (folder / "out").iterdir()} == {
        "a-predicted.gif",
        "a-predicted-2.gif",
        "b-predicted.gif",
    }
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(errors) == 2
    assert errors[0].endswith("bad.gif: not a GIF or video")
    assert "short.gif is too short: 1 frame at 10 per second, the model needs 3" in errors[1]
    assert "3 of 5 clips done" in caplog.text


def test_of_short_clips_as_many_frames_are_predicted_beside_the_truth_as_there_is_truth_for(
    folder: Path, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    for length in (12, 5, 3):  # the model looks at 3
        encode.write_gif(folder / f"clips/{length:02}.gif", clip(length), 10)
    with caplog.at_level(logging.INFO):
        assert predict_files(model, [folder / "clips"], output=folder / "out", side_by_side=True) == 1
    said = [record.getMessage().replace(f"{folder}/", "") for record in caplog.records]
    assert said[0] == (
        "clips/03.gif is too short: 3 frames at 10 per second, the model needs 4 (3 to look at and 1 to compare with): "
        "give a longer clip or a higher --fps"
    )
    assert said[1] == (
        "clips/05.gif: 2 instead of 5 frames predicted: it has 5, the model looks at 3, and there is no more to "
        "compare with"
    )
    assert said[2].startswith("out/05-predicted.gif: 3 frames of 05.gif, then 2 predicted; PD 0.00 (copying")
    assert said[3].startswith("out/12-predicted.gif: 7 frames of 12.gif, then 5 predicted; PD 0.00 (copying")
    left, right = np.split(read(folder / "out/05-predicted.gif", width=2 * (SIDE + 2 * GAP)), 2, axis=2)
    assert (inside(left) == clip(5)).all()
    assert [tuple(frame[0, 0]) for frame in right] == [GREY] * 3 + [GREEN] * 2


@pytest.mark.parametrize("output", ["nope/out.gif", "nope/deeper/out.gif", "nope/out"])
def test_folders_that_are_not_there_are_not_made(folder: Path, model: str, output: str) -> None:
    encode.write_gif(folder / "cat.gif", clip(6), 10)
    with pytest.raises(UserError, match=rf"--output {output}: there is no folder nope"):
        predict_files(model, [folder / "cat.gif"], frames=1, output=Path(output))
    assert not (folder / "nope").exists()
    assert predict_files(model, [folder / "cat.gif"], frames=1, output=Path("new")) == 0
    assert (folder / "new/cat-predicted.gif").is_file()


def test_default_names(folder: Path, model: str) -> None:
    encode.write_gif(folder / "cat.gif", clip(6), 10)
    assert predict_files(model, [Path("cat.gif")], frames=1) == 0
    assert (folder / "cat-predicted.gif").is_file()
    assert predict_files(model, [Path("cat.gif"), Path("model")], frames=1) == 1
    assert (folder / "predicted" / "cat-predicted.gif").is_file()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing.gif", "missing.gif: no such file or folder"),
        ("text.gif", "text.gif: not a GIF or video"),
        ("empty", "empty holds no GIF or video"),
        ("nothing.gif", "nothing.gif: empty file"),
    ],
)
def test_one_line_for_what_is_no_clip(
    folder: Path, model: str, caplog: pytest.LogCaptureFixture, name: str, told: str
) -> None:
    (folder / "text.gif").write_text("this is text")
    (folder / "nothing.gif").touch()
    (folder / "empty").mkdir()
    assert predict_files(model, [Path(name)], frames=1) == 1
    assert [told in r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == [True]
    assert all("\n" not in r.getMessage() for r in caplog.records)


def test_options_that_make_no_sense(folder: Path, model: str) -> None:
    encode.write_gif(folder / "cat.gif", clip(6), 10)
    cat, dog = folder / "cat.gif", folder / "dog.gif"
    encode.write_gif(dog, clip(6), 10)
    for told, options in {
        "--frames 0": {"frames": 0},
        "--fps -1": {"frames": 1, "fps": -1.0},
        "written as .gif, .mp4, .png or .npy": {"frames": 1, "output": Path("out.webm")},
        "is an input": {"frames": 1, "output": cat},
    }.items():
        with pytest.raises(UserError, match=told):
            predict_files(model, [cat], **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="give a folder"):
        predict_files(model, [cat, dog], frames=1, output=Path("out.gif"))
    with pytest.raises(UserError, match="no/model is no folder"):
        predict_files("no/model", [cat], frames=1)


def test_the_model_comes_first(folder: Path, model: str) -> None:
    (folder / "clips").mkdir()
    encode.write_gif(folder / "clips/cat.gif", clip(6), 10)
    cat = "clips/cat.gif"
    for typed, wanted in {
        (cat,): f"{cat} is a clip, and MODEL comes first: `vidpred predict models:/vidpred@champion {cat}`",
        ("clips/dog.gif",): "clips/dog.gif is a clip",
        (cat, cat): f"`vidpred predict models:/vidpred@champion {cat}`",
        (cat, "model"): f"MODEL comes first: `vidpred predict model {cat}`",
        ("clips", "model"): "MODEL comes first: `vidpred predict model clips`",
        (cat, "models:/vidpred@champion"): f"`vidpred predict models:/vidpred@champion {cat}`",
        ("clips",): "clips is no model, and MODEL comes first: `vidpred predict models:/vidpred@champion clips`",
        (
            "https://example.org/cat.gif",
        ): "`curl -sL https://example.org/cat.gif | vidpred predict models:/vidpred@champion -`",
        ("*.gif",): "`vidpred predict models:/vidpred@champion '*.gif'`",
        (model,): "no clips: name GIFs, videos or folders of them",
    }.items():
        with pytest.raises(UserError) as raised:
            predict_files(typed[0], [Path(word) for word in typed[1:]], frames=1)
        assert wanted in str(raised.value), typed
        assert "\n" not in str(raised.value)
    (folder / "models").mkdir()
    (folder / "model").rename(folder / "models/trained")
    with pytest.raises(UserError, match=r"`vidpred predict models/trained clips/cat\.gif`"):
        predict_files(cat, [], frames=1)


@pytest.mark.parametrize("model", ["models/trained", "models:/vidpred@champion"])
def test_in_a_fresh_clone_it_says_how_to_get_the_model(
    folder: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VIDPRED_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    (folder / "params.yaml").touch()
    (folder / "dvc.yaml").touch()
    encode.write_gif(folder / "cat.gif", clip(6), 10)
    with pytest.raises(UserError, match=r"run `dvc pull` if it was shared, or `make repro`, which makes it"):
        predict_files(model, [folder / "cat.gif"], frames=1)


def test_frames_in_memory(model: str) -> None:
    predictor = FramePredictor.load(model, device="cpu")
    assert (predictor.task.context, predictor.fps) == (3, 10.0)
    assert (predictor.predict(clip(9), 4) == clip(13)[9:]).all()
    with pytest.raises(UserError, match="2 frames are too few: the model looks at 3"):
        predictor.predict(clip(2), 1)
    with pytest.raises(ValueError, match="expected uint8"):
        predictor.predict(clip(9).astype(np.float32), 1)


def test_a_model_in_one_line_takes_frames_of_any_size_where_that_is_wanted(folder: Path, model: str) -> None:
    predictor = vidpred.load(model, device="cpu")
    assert (predictor.predict(clip(9), steps=4) == clip(13)[9:]).all()
    wide = clip(9, width=48).repeat(2, axis=1).repeat(2, axis=2)  # 64x96: cropped at both sides, then halved
    with pytest.raises(ValueError, match="resize=True brings them to that size"):
        predictor.predict(wide, steps=4)
    encode.write_mp4(folder / "wide.mp4", wide, 10, crf=0)
    read_back = media.decode(folder / "wide.mp4", height=64, width=96, ffmpeg=launch.ffmpeg_binary())
    as_file = media.decode(folder / "wide.mp4", height=SIDE, width=SIDE, ffmpeg=launch.ffmpeg_binary())
    found = predictor.predict(read_back, steps=4, resize=True)
    assert found.shape == (4, SIDE, SIDE, 3)
    assert abs(found.astype(int) - predictor.predict(as_file, steps=4)).max() <= 3  # yuv and RGB round differently
    with pytest.raises(ValueError, match="RGB from 0 to 255"):
        predictor.predict(wide.astype(np.float32), steps=4, resize=True)
    with pytest.raises(UserError, match="torch has no device tpu here: take auto or cpu"):
        vidpred.load(model, device="tpu")


def test_prediction_with_a_local_model_imports_nothing_heavy_but_torch(folder: Path, model: str) -> None:
    encode.write_gif(folder / "cat.gif", clip(6), 10)
    code = (
        "import sys; from vidpred.serving.predict import predict_files; from pathlib import Path; "
        f"assert predict_files({model!r}, [Path('cat.gif')], frames=1) == 0; "
        "print(sorted({'mlflow', 'ray', 'pandas', 'matplotlib', 'cv2', 'torchmetrics', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_many_clips_in_memory_at_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = FramePredictor.load(model, device="cpu")
    clips = np.stack([clip(9), clip(9)[::-1], clip(9) // 2, np.roll(clip(9), 5, axis=1), clip(9) // 3])
    wanted = [predictor.predict(frames, 4) for frames in clips]
    assert (predictor.predict_batch(clips, 4) == wanted).all()
    monkeypatch.setattr("vidpred.serving.predictor._PIXELS_AT_ONCE", 2 * SIDE * SIDE)  # in parts: 2, 2 and 1
    assert (predictor.predict_batch(clips, 4) == wanted).all()
    assert predictor.predict_batch(clips[:0], 4).shape == (0, 4, SIDE, SIDE, 3)
    with pytest.raises(UserError, match="2 frames are too few: the model looks at 3"):
        predictor.predict_batch(clips[:, :2], 1)
    with pytest.raises(ValueError, match=r"expected uint8 \(B, T, 32, 32, 3\)"):
        predictor.predict_batch(clips[0], 1)


@pytest.mark.parametrize("name", ["warpmix", "convlstm", "flow_gate"])
def test_a_batch_gives_what_single_clips_give(folder: Path, name: str) -> None:
    task = Task(context=3, horizon=1, height=SIDE, width=SIDE)
    built = zoo.build(name, {}, task)
    save_model(folder / name, built, name=name, config={}, task=task, info={})
    predictor = FramePredictor.load(folder / name, device="cpu")
    clips = np.stack([clip(6), clip(6)[::-1], np.roll(clip(6), 7, axis=1)])
    singly = np.stack([predictor.predict(frames, 3) for frames in clips])
    assert abs(predictor.predict_batch(clips, 3).astype(int) - singly).max() <= 1


def test_flow_on_several_threads_is_that_of_training_to_the_bit() -> None:
    noise = np.random.default_rng(0).integers(0, 50, (2, 5, SIDE, SIDE, 3), dtype=np.uint8)
    contexts = [to_float(torch.from_numpy(np.stack([clip(5) // 2] * 2) + noise))]
    for shift in (1, 2):  # a rollout goes on by a frame, then by two
        contexts.append(torch.cat([contexts[-1][:, shift:], contexts[0].flip(1)[:, :shift]], dim=1))
    with ThreadPoolExecutor(2) as pool:
        one, other = flow_for(None, FlowParams()), following(FlowParams(), pool)
        for context in contexts:
            assert torch.equal(one(context), other(context))


def test_models_that_need_flow(folder: Path) -> None:
    task = Task(context=3, horizon=1, height=SIDE, width=SIDE)
    built = zoo.build("flow_extrapolation", {}, task)
    save_model(folder / "flow", built, name="flow_extrapolation", config={}, task=task, info={})
    predicted = FramePredictor.load(folder / "flow", device="cpu").predict(clip(6), 2)
    truth, copied = clip(8)[6:].astype(int), clip(6)[-1:].astype(int)
    assert abs(predicted - truth).mean() < 0.7 * abs(copied - truth).mean()


# ---- a model that interpolates


@pytest.fixture
def halfway(folder: Path) -> str:
    """A folder of a model that gives the average of both frames."""
    task = Task(context=2, horizon=1, height=SIDE, width=SIDE, kind="interpolate")
    built = zoo.build("average", {}, task)
    save_model(folder / "halfway", built, name="average", config={}, task=task, info={"data_id": "d", "fps": 5.0})
    return str(folder / "halfway")


def fading(length: int) -> np.ndarray:
    """Grey frames, each 16 levels brighter than the one before."""
    return (
        np.full((length, SIDE, SIDE, 3), 20, np.uint8) + (16 * np.arange(length, dtype=np.uint8))[:, None, None, None]
    )


def test_an_interpolator_doubles_the_frame_rate(folder: Path, halfway: str, caplog: pytest.LogCaptureFixture) -> None:
    encode.write_gif(folder / "cat.gif", fading(6), 10)
    with caplog.at_level(logging.INFO):
        assert predict_files(halfway, [folder / "cat.gif"], output=folder / "out.gif") == 0
    out = read(folder / "out.gif", height=SIDE, width=SIDE)  # no borders: it is a clip to be used
    assert out[:, 0, 0, 0].tolist() == [20 + 8 * i for i in range(11)]  # at its own rate, not at the model's
    assert media.facts(folder / "out.gif", ffmpeg=launch.ffmpeg_binary()).fps == pytest.approx(20)
    assert "6 frames of cat.gif and 5 between, 20 per second" in caplog.text
    encode.write_mp4(folder / "cat.mp4", fading(6), 30)
    assert predict_files(halfway, [folder / "cat.mp4"], output=folder / "smooth.gif") == 0
    assert "GIFs show at most 50 frames a second, this has 60: give an .mp4" in caplog.text


def test_an_interpolator_beside_the_truth(folder: Path, halfway: str, caplog: pytest.LogCaptureFixture) -> None:
    encode.write_gif(folder / "cat.gif", fading(8), 5)
    with caplog.at_level(logging.INFO):
        assert predict_files(halfway, [folder / "cat.gif"], output=folder / "out.gif", side_by_side=True) == 0
    out = read(folder / "out.gif", width=2 * (SIDE + 2 * GAP))
    assert len(out) == 7  # an odd number: the last frame is known
    left, right = np.split(out, 2, axis=2)
    assert (inside(left) == inside(right)).all()
    assert [tuple(frame[0, 0]) for frame in right] == [GREY, GREEN] * 3 + [GREY]
    assert "3 of them made again; PD 0.00 (averaging both: 0.00)" in caplog.text


def test_what_an_interpolator_cannot_do_is_told(
    folder: Path, halfway: str, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    encode.write_gif(folder / "cat.gif", fading(2), 10)
    with pytest.raises(UserError, match=r"--frames 3: .*halfway puts one frame between any two of a clip: leave"):
        predict_files(halfway, [folder / "cat.gif"], frames=3)
    assert predict_files(halfway, [folder / "cat.gif"], output=folder / "out.gif", side_by_side=True) == 1
    assert "too short: 3 frames are needed" in caplog.text
    encode.write_gif(folder / "still.gif", fading(1), 10)
    assert predict_files(halfway, [folder / "still.gif"], output=folder / "out.gif") == 1
    assert "it has one frame" in caplog.text
    between, after = FramePredictor.load(halfway), FramePredictor.load(model)
    clip = fading(40) % 128
    wanted = np.rint((clip[:-1].astype(float) + clip[1:]) / 2)
    np.testing.assert_array_equal(between.between(clip), wanted)  # more than are made at once
    with pytest.raises(UserError, match="ask for `between`"):
        between.predict(fading(6), 1)
    with pytest.raises(UserError, match="ask for `predict`"):
        after.between(fading(6))
    with pytest.raises(UserError, match="has nothing between"):
        between.between(fading(1))
