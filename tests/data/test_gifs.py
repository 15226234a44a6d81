"""What a GIF's blocks tell is what ffmpeg makes of them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.odd_files import FFMPEG, canvas, dot, read, read_all
from vidpred.data import media
from vidpred.data.gifs import Blocks, blocks
from vidpred.data.media import Job, Look

LOOK = Look(24, 24, max_seconds=100)
TEXT = b"\x21\x01\x0c" + bytes(12) + b"\x02hi\x00"
"""Text to be drawn over an image, which nobody draws."""


def gif(path: Path, *parts: bytes, end: bytes = b";") -> Path:
    path.write_bytes(canvas(24, 24) + b"".join(parts) + end)
    return path


def test_delays_are_those_that_browsers_show(tmp_path: Path) -> None:
    path = gif(tmp_path / "a.gif", *(dot(delay=delay) for delay in (0, 1, 2, 50, 65_535)))
    assert blocks(path).delays == (100, 100, 20, 500, 655_350)


def test_a_delay_is_for_the_next_image_only(tmp_path: Path) -> None:
    control = dot(delay=30)[:8]
    image = dot(delay=30)[8:]
    path = gif(
        tmp_path / "a.gif", control, image, image, TEXT, control, TEXT, control[:4] + b"\x07\0" + control[6:], image
    )
    assert blocks(path).delays == (300, 100, 70)


def test_of_what_is_no_whole_gif_no_delays_are_told(tmp_path: Path) -> None:
    whole = gif(tmp_path / "a.gif", dot(), dot())
    assert blocks(whole).delays == (100, 100)
    assert blocks(gif(tmp_path / "b.gif", dot(), end=b"")) == Blocks()
    assert blocks(gif(tmp_path / "c.gif", dot(), end=b"\x99;")) == Blocks()
    assert blocks(gif(tmp_path / "d.gif", dot(), dot()[:-2], end=b"")) == Blocks(cut_short=True)
    assert blocks(gif(tmp_path / "e.gif", dot() * 20_001)) == Blocks()
    (tmp_path / "f.mp4").write_bytes(b"no gif")
    assert blocks(tmp_path / "f.mp4") == Blocks()


@pytest.mark.parametrize("look", [LOOK, replace(LOOK, max_seconds=1.5), replace(LOOK, max_frames=7)])
def test_times_are_the_same_whether_the_blocks_or_ffmpeg_told_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Look
) -> None:
    rng = random.Random(0)
    paths = [
        gif(
            tmp_path / f"{n}.gif", *(dot(delay=rng.choice((0, 1, 2, 3, 10, 40)), x=rng.randrange(20)) for _ in range(9))
        )
        for n in range(12)
    ]
    told = read_all(paths, look)
    monkeypatch.setattr(media, "blocks", lambda _: Blocks())
    for by_blocks, by_ffmpeg in zip(told, read_all(paths, look, ffmpeg=FFMPEG), strict=True):
        assert not isinstance(by_blocks, media.MediaError)
        assert not isinstance(by_ffmpeg, media.MediaError)
        np.testing.assert_array_equal(by_blocks[0], by_ffmpeg[0])
        np.testing.assert_allclose(by_blocks[1].times, by_ffmpeg[1].times, atol=1e-9)
        assert by_blocks[1].end_seconds == pytest.approx(by_ffmpeg[1].end_seconds)


def test_where_frames_are_fewer_than_images_ffmpeg_tells_the_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone and in a batch."""
    path, other = (gif(tmp_path / name, *(dot(delay=30, x=x) for x in range(6))) for name in ("a.gif", "b.gif"))
    expected = read(path, LOOK)[1].times
    monkeypatch.setattr(media, "blocks", lambda _: Blocks(delays=(50,) * 7))
    for jobs in ([Job(path)], [Job(path), Job(other)]):
        (result, *_) = read_all(jobs, LOOK)
        assert not isinstance(result, media.MediaError)
        np.testing.assert_allclose(result[1].times, expected)
