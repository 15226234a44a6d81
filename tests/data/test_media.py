"""ffmpeg's work: exact GIFs, one size and rate from any file, a short reason for what cannot be read."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vidpred.data import encode, launch, media
from vidpred.data.media import MediaError
from vidpred.errors import UserError

FFMPEG = launch.ffmpeg_binary()


def squares(frames: int = 12, height: int = 48, width: int = 64) -> np.ndarray:
    """A white square that moves right by 2 pixels a frame over a dark gradient; uint8 (T, H, W, 3)."""
    out = np.zeros((frames, height, width, 3), np.uint8)
    out[..., 1] = np.linspace(0, 60, width, dtype=np.uint8)
    for t, frame in enumerate(out):
        frame[10:22, 4 + 2 * t : 16 + 2 * t] = 255
    return out


@pytest.mark.parametrize("colours", [2, 255, 256])
def test_a_gif_of_at_most_256_colours_is_exact(tmp_path: Path, colours: int) -> None:
    rng = np.random.default_rng(colours)
    palette = np.unique(rng.integers(0, 256, (400, 3), dtype=np.uint8), axis=0)[:colours]
    frames = palette[rng.integers(0, colours, (6, 32, 48))]
    encode.write_gif(tmp_path / "a.gif", frames, 10)
    read = media.decode(tmp_path / "a.gif", height=32, width=48, fps=10, ffmpeg=FFMPEG)
    np.testing.assert_array_equal(read, frames)


def test_names_need_not_be_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    for suffix in (".gif", ".mp4"):
        path = folder / os.fsdecode(b"na\xefve" + suffix.encode())
        encode.write_video(path, squares(), 10)
        assert media.facts(path, ffmpeg=FFMPEG).fps == 10
        assert len(media.decode(path, height=48, width=64, ffmpeg=FFMPEG)) == 12


def test_a_gif_of_many_colours_and_an_mp4_come_back_nearly(tmp_path: Path) -> None:
    y, x = np.mgrid[:48, :64]
    ramp = np.stack([x * 4, y * 5, (x + y) * 2], axis=-1).astype(np.uint8)
    frames = np.stack([np.roll(ramp, t, axis=1) for t in range(8)])
    for name in ("a.gif", "a.mp4"):
        encode.write_video(tmp_path / name, frames, 10)
        read = media.decode(tmp_path / name, height=48, width=64, fps=10, ffmpeg=FFMPEG)
        assert read.shape == frames.shape
        assert np.abs(read.astype(int) - frames).mean() < 8


def test_an_mp4_with_odd_sides_can_be_written(tmp_path: Path) -> None:
    encode.write_mp4(tmp_path / "odd.mp4", squares(height=33, width=47), 10)
    facts = media.facts(tmp_path / "odd.mp4", ffmpeg=FFMPEG)
    assert (facts.height, facts.width) == (34, 48)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.gif or \.mp4, not \.webp"):
        encode.write_video(tmp_path / "a.webp", squares(), 10)


def test_frames_are_sampled_by_time(tmp_path: Path) -> None:
    encode.write_gif(tmp_path / "a.gif", squares(20), 20)
    half = media.decode(tmp_path / "a.gif", height=48, width=64, fps=10, ffmpeg=FFMPEG)
    double = media.decode(tmp_path / "a.gif", height=48, width=64, fps=40, ffmpeg=FFMPEG)
    native = media.decode(tmp_path / "a.gif", height=48, width=64, ffmpeg=FFMPEG)
    np.testing.assert_array_equal(native, squares(20))
    assert len(half) == 10
    np.testing.assert_array_equal(np.diff(half[:, 15, :, 0].astype(int).argmax(axis=1)), 4)
    assert len(double) == 40
    np.testing.assert_array_equal(double[::2], double[1::2])


def test_a_gif_with_uneven_delays_follows_the_clock(tmp_path: Path) -> None:
    from PIL import Image

    greys = [0, 80, 160, 240]
    images = [Image.new("L", (16, 16), grey) for grey in greys]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=[100, 300, 100, 200])
    read = media.decode(tmp_path / "a.gif", height=16, width=16, fps=10, ffmpeg=FFMPEG)
    assert read[:, 0, 0, 0].tolist()[:5] == [0, 80, 80, 80, 160]


def test_length_is_limited(tmp_path: Path) -> None:
    encode.write_gif(tmp_path / "a.gif", squares(20), 10)
    read = media.decode(tmp_path / "a.gif", height=48, width=64, fps=10, max_seconds=0.7, ffmpeg=FFMPEG)
    assert len(read) == 7


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_another_shape_is_fitted(tmp_path: Path, fit: media.Fit) -> None:
    frames = np.zeros((6, 40, 80, 3), np.uint8)
    frames[:, :, :20], frames[:, :, 20:60], frames[:, :, 60:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    encode.write_gif(tmp_path / "a.gif", frames, 10)
    middle = media.decode(tmp_path / "a.gif", height=20, width=20, fps=10, fit=fit, ffmpeg=FFMPEG)[0]
    left, centre, top = middle[10, 0].tolist(), middle[10, 10].tolist(), middle[0, 10].tolist()
    assert centre == [0, 255, 0]
    assert left == ([0, 255, 0] if fit == "crop" else [255, 0, 0])
    assert top == ([0, 0, 0] if fit == "pad" else [0, 255, 0])


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        encode.write_mp4(tmp_path / name, squares(), 10)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_facts(tmp_path: Path) -> None:
    encode.write_mp4(tmp_path / "a.mp4", squares(30), 15)
    assert media.facts(tmp_path / "a.mp4", ffmpeg=FFMPEG) == media.Facts(
        height=48, width=64, fps=15, seconds=2, codec="h264"
    )


def _truncated(path: Path, good: bytes) -> None:
    path.write_bytes(good[: len(good) // 2])


BAD: dict[str, tuple[Callable[[Path, bytes], object], str]] = {
    "text": (lambda path, _: path.write_text("hello\n" * 100), "not a GIF or video"),
    "empty": (lambda path, _: path.write_bytes(b""), "empty file"),
    "playlist": (
        lambda path, _: path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n"),
        "not a GIF or video",
    ),
    "concat": (lambda path, _: path.write_text("ffconcat version 1.0\nfile '/etc/hostname'\n"), "not a GIF or video"),
    "truncated": (_truncated, "damaged: "),
    "folder": (lambda path, _: path.mkdir(), "not a file"),
    "missing": (lambda _path, _: None, "no such file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_has_a_short_reason(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    encode.write_gif(tmp_path / "good.gif", rng.integers(0, 16, (8, 48, 64, 1), dtype=np.uint8).repeat(3, -1) * 16, 10)
    make, reason = BAD[kind]
    make(tmp_path / "bad.gif", (tmp_path / "good.gif").read_bytes())
    with pytest.raises(MediaError) as told:
        media.decode(tmp_path / "bad.gif", height=32, width=32, fps=10, ffmpeg=FFMPEG)
    assert str(told.value).startswith(reason)
    assert "\n" not in str(told.value)
    assert str(tmp_path) not in str(told.value)


def test_a_gif_cut_anywhere_is_told_or_whole_frames(tmp_path: Path) -> None:
    frames = np.random.default_rng(5).integers(0, 8, (12, 24, 24, 1), dtype=np.uint8).repeat(3, -1) * 30
    encode.write_gif(tmp_path / "whole.gif", frames, 10)
    whole = (tmp_path / "whole.gif").read_bytes()
    reasons: list[str] = []
    for end in range(len(whole) // 3, len(whole), len(whole) // 23):
        (tmp_path / "cut.gif").write_bytes(whole[:end])
        try:
            read = media.decode(tmp_path / "cut.gif", height=24, width=24, fps=10, ffmpeg=FFMPEG)
        except MediaError as error:
            reasons.append(str(error))
        else:
            np.testing.assert_array_equal(read, frames[: len(read)])
    assert len(reasons) > 10
    assert all(reason.startswith("damaged: ") for reason in reasons)
    (tmp_path / "cut.gif").write_bytes(whole[:-1])  # only the end mark is missing
    assert len(media.decode(tmp_path / "cut.gif", height=24, width=24, fps=10, ffmpeg=FFMPEG)) == 12


def test_too_many_pixels_are_told(tmp_path: Path) -> None:
    encode.write_gif(tmp_path / "a.gif", squares(), 10)
    with pytest.raises(MediaError, match="more than 1000 pixels a frame"):
        media.decode(tmp_path / "a.gif", height=32, width=32, fps=10, max_pixels=1000, ffmpeg=FFMPEG)


def test_time_is_limited_and_work_can_be_stopped(tmp_path: Path) -> None:
    encode.write_gif(tmp_path / "a.gif", squares(30, 256, 256), 10)
    (tmp_path / "out").mkdir()
    jobs, look = [media.Job(tmp_path / "a.gif")], media.Look(4096, 4096)
    began = time.monotonic()
    (late,) = media.decode_to(tmp_path / "out", jobs, look, ffmpeg=FFMPEG, timeout_seconds=0.5)
    assert isinstance(late, MediaError)
    assert str(late) == "timed out after 0.5 s"
    stop = threading.Event()
    stop.set()
    with pytest.raises(media.Stopped):
        media.decode_to(tmp_path / "out", jobs, look, ffmpeg=FFMPEG, stop=stop)
    assert time.monotonic() - began < 5


def test_ffmpeg_is_chosen_by_name_or_path(tmp_path: Path) -> None:
    assert launch.ffmpeg_version(str(FFMPEG)) == launch.ffmpeg_version("bundled")
    with pytest.raises(UserError, match="is no file: give bundled, system or the path"):
        launch.ffmpeg_binary(str(tmp_path / "nothing"))
    (tmp_path / "other").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "other").chmod(0o755)
    with pytest.raises(UserError, match="is no ffmpeg"):
        launch.ffmpeg_version(str(tmp_path / "other"))


@pytest.fixture
def none_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """imageio-ffmpeg as it is on a machine for which it carries nothing; a folder that is all of the PATH."""
    import imageio_ffmpeg

    monkeypatch.setattr(imageio_ffmpeg._utils, "FNAME_PER_PLATFORM", {})
    imageio_ffmpeg._utils._get_ffmpeg_exe.cache_clear()
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    yield folder
    imageio_ffmpeg._utils._get_ffmpeg_exe.cache_clear()


def test_the_ffmpeg_of_the_system_stands_in_for_writing_alone(tmp_path: Path, none_bundled: Path) -> None:
    with pytest.raises(UserError, match="carries none for this machine and none is on the PATH: install one"):
        encode.write_gif(tmp_path / "a.gif", squares(), 10)
    (none_bundled / "ffmpeg").symlink_to(FFMPEG)
    encode.write_gif(tmp_path / "a.gif", squares(), 10)
    with pytest.raises(UserError, match="for this machine: install one and set transcode"):
        launch.ffmpeg_binary("bundled")
    system = launch.ffmpeg_binary("system")
    read = media.decode(tmp_path / "a.gif", height=48, width=64, ffmpeg=system)
    np.testing.assert_array_equal(read, squares())


def test_real_clips(shared_data: Path) -> None:
    for name in ("bikes.mp4", "mma_test.avi", "pancake.mkv"):
        read = media.decode(shared_data / "videos" / name, height=32, width=32, fps=5, max_seconds=1.6, ffmpeg=FFMPEG)
        assert read.shape == (8, 32, 32, 3)
        assert read.std() > 10
    with pytest.raises(MediaError, match="damaged: Invalid NAL unit size"):
        media.decode(shared_data / "odd" / "corrupted.mp4", height=32, width=32, fps=10, ffmpeg=FFMPEG)


def test_rotation_tags_are_obeyed(shared_data: Path) -> None:
    facts = media.facts(shared_data / "odd" / "rotated_90.mov", ffmpeg=FFMPEG)
    assert (facts.height, facts.width) == (568, 320)
    upside_down = media.decode(shared_data / "odd" / "rotated_180.mov", height=32, width=56, ffmpeg=FFMPEG)[0]
    turned = media.decode(shared_data / "odd" / "rotated_90.mov", height=56, width=32, ffmpeg=FFMPEG)[0]
    # one scene: turned by a quarter, what stands on the left of one is at the top or bottom of the other
    assert upside_down.shape == (32, 56, 3)
    assert turned.shape == (56, 32, 3)
