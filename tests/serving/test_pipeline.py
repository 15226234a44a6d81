"""Many files: a broken one harms no other, and what is finished stays when the work is ended."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.serving.clips import clip
from vidpred.data import encode
from vidpred.serving import pipeline
from vidpred.serving.predict import predict_files


def folder_of(folder: Path, count: int) -> Path:
    """So many clips, each with its square in another place; some share a name."""
    (folder / "clips/more").mkdir(parents=True)
    encode.write_gif(folder / "first.gif", clip(8), 10)
    for number in range(count):
        frames = np.roll(clip(8), number % 16, axis=1)
        encode.write_gif(folder / "clips" / ("more" if number % 2 else ".") / f"{number // 2:03d}.gif", frames, 10)
    return folder / "clips"


def test_many_files_give_what_single_ones_give(
    folder: Path, model: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_TOGETHER", 8)
    clips = folder_of(folder, 22)
    broken = {"001.gif": b"GIF89a" + bytes(500), "004.gif": b"text", "007.gif": (clips / "007.gif").read_bytes()[:-200]}
    for name, content in broken.items():
        (clips / name).write_bytes(content)
    encode.write_mp4(clips / "large.mp4", np.roll(clip(300, width=400), 3, axis=1), 10)
    with caplog.at_level(logging.INFO):
        assert predict_files(model, [clips], frames=2, output=folder / "out", kind="npy") == 1
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert [Path(line.split(":")[0]).name for line in errors] == sorted(broken)  # in order
    assert "20 of 23 clips done" in caplog.text
    assert len(list((folder / "out").iterdir())) == 20
    for number in range(22):
        name = f"{number // 2:03d}"
        source = clips / ("more" if number % 2 else ".") / f"{name}.gif"
        if source.name in broken and not number % 2:
            continue
        assert predict_files(model, [source], frames=2, output=folder / "one.npy") == 0
        found = folder / "out" / f"{name}-predicted{'-2' * (number % 2)}.npy"
        assert (np.load(found) == np.load(folder / "one.npy")).all()
        assert (np.load(found) == np.roll(clip(10), number % 16, axis=1)[8:]).all()


def test_what_is_there_is_skipped_where_that_is_wanted(
    folder: Path, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    clips = folder_of(folder, 4)
    assert predict_files(model, [clips], frames=1, output=folder / "out") == 0
    results = sorted((folder / "out").iterdir())
    results[0].unlink()
    before = [path.stat().st_mtime_ns for path in results[1:]]
    with caplog.at_level(logging.INFO):
        assert predict_files(model, [clips], frames=1, output=folder / "out", skip_existing=True) == 0
    assert "3 of 4 results are there already" in caplog.text
    assert results[0].is_file()
    assert [path.stat().st_mtime_ns for path in results[1:]] == before
    assert predict_files("no/model", [clips], frames=1, output=folder / "out", skip_existing=True) == 0  # nothing left


def test_ctrl_c_keeps_what_is_finished(folder: Path, model: str) -> None:
    clips = folder_of(folder, 8)
    for number in range(400):
        os.link(clips / "000.gif", clips / f"link{number}.gif")
    with subprocess.Popen(
        [Path(sys.executable).with_name("vidpred"), "predict", model, str(clips), "-n", "1", "-o", "out"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=folder,
    ) as process:  # fmt: skip
        while process.poll() is None and len(list(folder.glob("out/*.gif"))) < 5:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        told = process.communicate()[1]
    assert process.returncode == 130, told
    done = list((folder / "out").iterdir())
    assert 5 <= len(done) < 408
    assert not [path for path in done if path.suffix != ".gif"]  # nothing half written
    assert "--skip-existing goes on from here" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_a_result_that_cannot_be_written_is_told_in_a_line(
    folder: Path, model: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    encode.write_gif(folder / "cat.gif", clip(8), 10)
    (folder / "out").mkdir()
    (folder / "out/cat-predicted.gif").mkdir()
    (folder / "out/cat-predicted.png").mkdir()
    assert predict_files(model, [folder / "cat.gif"], frames=1, output=folder / "out", kind=kind) == 1
    assert f"cat-predicted.{kind} could not be written: Is a directory" in caplog.text
