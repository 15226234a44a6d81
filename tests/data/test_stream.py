"""A video read in parts gives the frames that it gives as a whole, and no more than a part at once."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.clips import transparent
from vidpred.data import launch, media
from vidpred.data.complaints import MediaError
from vidpred.data.encode import write_video
from vidpred.data.stream import Part, Source

FFMPEG = launch.any_ffmpeg()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`even.mp4` and `even.gif` of 90 frames, 7.2 s; `held.mkv`, the same with one picture held for five seconds."""
    out = tmp_path_factory.mktemp("videos")
    noise = np.random.default_rng(0).integers(0, 8, (90, 12, 16, 1), dtype=np.uint8).repeat(3, axis=-1) * 30
    frames = noise.repeat(4, axis=1).repeat(4, axis=2)
    write_video(out / "even.mp4", frames, 12.5)
    write_video(out / "even.gif", frames, 12.5)
    late = ["-filter:v", "setpts='PTS+gte(N,40)*5/TB'", "-fps_mode", "vfr", "-c:v", "ffv1"]
    subprocess.run([str(FFMPEG), "-v", "error", "-i", str(out / "even.mp4"), *late, str(out / "held.mkv")], check=True)
    return out


def source(path: Path, fps: float | None, part_seconds: float) -> Source:
    return Source(path, height=24, width=32, ffmpeg=FFMPEG, fps=fps, part_seconds=part_seconds)


def joined(parts: list[Part]) -> np.ndarray:
    firsts = np.cumsum([0, *(len(part.frames) for part in parts)])
    assert [part.first for part in parts] == firsts[:-1].tolist()
    return np.concatenate([part.frames for part in parts])


@pytest.mark.parametrize("name", ["even.mp4", "even.gif", "held.mkv"])
@pytest.mark.parametrize(("fps", "part_seconds"), [(10, 1.7), (10, 60), (25, 2.0), (None, 2.4)])
def test_the_parts_are_the_whole(folder: Path, name: str, fps: float | None, part_seconds: float) -> None:
    read = source(folder / name, fps, part_seconds)
    whole = media.decode(folder / name, height=24, width=32, ffmpeg=FFMPEG, fps=read.fps)
    parts = list(read.parts())
    assert max(len(part.frames) for part in parts) <= round(part_seconds * read.fps)
    np.testing.assert_array_equal(joined(parts), whole)


def test_what_shows_through_is_what_is_asked_for(tmp_path: Path) -> None:
    path = transparent(tmp_path / "cat.gif")
    for background in ("#ff8000", "white"):
        size: dict[str, Any] = {"height": 24, "width": 32, "ffmpeg": FFMPEG, "fps": 10, "background": background}
        np.testing.assert_array_equal(joined(list(Source(path, **size).parts())), media.decode(path, **size))


def test_only_parts_that_are_wanted_are_read(folder: Path) -> None:
    read = source(folder / "even.mp4", 10, 1.0)
    whole = joined(list(read.parts()))
    parts = list(read.parts(np.array([12, 13, 55])))
    assert [part.first for part in parts] == [10, 50]
    for part in parts:
        np.testing.assert_array_equal(part.frames, whole[part.first : part.first + 10])
    fresh = list(source(folder / "even.mp4", 10, 1.0).parts(np.array([55])))  # without a first look at all of it
    np.testing.assert_array_equal(fresh[0].frames, whole[50:60])


def test_what_is_no_video_is_told(folder: Path) -> None:
    (folder / "text.mp4").write_text("hello")
    with pytest.raises(MediaError):
        source(folder / "text.mp4", 10, 1.0)
    with pytest.raises(MediaError, match="no such file"):
        source(folder / "none.mp4", 10, 1.0)
