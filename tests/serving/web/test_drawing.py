"""GIFs and strips: exact where they can be, near where not, every frame there and in time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidpred.data import launch, media
from vidpred.serving.web.drawing import gif, strip


def read(data: bytes, folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A GIF's frames, uint8 (T, H, W, 3)."""
    path = folder / "a.gif"
    path.write_bytes(data)
    return media.decode(path, height=shape[1], width=shape[2], ffmpeg=launch.ffmpeg_binary())


@pytest.mark.parametrize(("height", "width", "colours"), [(24, 40, 256), (1, 1, 2), (200, 300, 200), (64, 64, 1)])
def test_few_colours_come_back_as_they_were(tmp_path: Path, height: int, width: int, colours: int) -> None:
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (colours, 3), dtype=np.uint8)
    frames = palette[rng.integers(0, colours, (4, height, width))]
    assert (read(gif(frames, 10), tmp_path, frames.shape) == frames).all()


def test_many_colours_come_near(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:96, :128]
    frames = np.stack([np.stack([rows * 2 + t, columns * 2 - t, 255 - rows - t], -1) for t in range(6)]).clip(0, 255)
    frames = frames.astype(np.uint8)
    off = read(gif(frames, 10), tmp_path, frames.shape).astype(int) - frames
    assert np.abs(off).mean() < 8
    assert abs(off.mean()) < 1  # dithered: brighter nowhere in the mean


def test_a_rare_colour_among_few_is_kept(tmp_path: Path) -> None:
    frames = np.zeros((3, 300, 300, 3), np.uint8)
    frames[1, 151, 151] = (200, 30, 10)  # where no sample is taken
    assert (read(gif(frames, 10), tmp_path, frames.shape) == frames).all()


@pytest.mark.parametrize(("fps", "total"), [(10, 70), (30, 23), (7.5, 93), (1000, 14)])
def test_every_frame_is_there_and_takes_its_time(fps: float, total: int) -> None:
    frames = np.zeros((7, 8, 8, 3), np.uint8)  # equal ones are not merged
    with Image.open(io.BytesIO(gif(frames, fps))) as image:
        assert image.n_frames == 7
        assert image.info["loop"] == 0
        hundredths = 0
        for number in range(7):
            image.seek(number)
            hundredths += image.info["duration"] // 10
    assert hundredths == total


def test_strips_are_exact() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(strip(frames)))).reshape(frames.shape) == frames).all()
