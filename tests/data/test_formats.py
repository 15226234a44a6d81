"""Formats: whatever a file's times, transparency, rotation, colours and shape, its frames look as a viewer sees them.

With the ffmpeg that imageio-ffmpeg carries, and with the one of the system, which may be years older.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageSequence

from tests.data.odd_files import (
    CLEAR_GIF,
    CORNERS,
    FFMPEG,
    GIF,
    LOSSLESS,
    copied,
    corners,
    gif_of,
    jpeg,
    plain,
    png,
    quarters,
    read,
    read_all,
    squares,
    written,
)
from vidpred.config import TranscodeParams
from vidpred.data import launch, media
from vidpred.data.clip_cache import local_engine
from vidpred.data.media import Job, Look, MediaError
from vidpred.data.shards import Shards
from vidpred.data.transcode import transcode
from vidpred.workspace import file_sha256

SMALL = Look(48, 64)
GREYS = (0, 40, 80, 120, 160, 200, 240)


@pytest.fixture(scope="module", params=["bundled", pytest.param("system", marks=pytest.mark.slow)])
def ffmpeg(request: pytest.FixtureRequest) -> Path:
    """Each ffmpeg there is."""
    if request.param == "system" and shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg on the PATH")
    return launch.ffmpeg_binary(request.param)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a file once for all that read it: (name, frames, options of ffmpeg)."""
    folder = tmp_path_factory.mktemp("made")

    def make(name: str, frames: np.ndarray, *options: str, **more: Any) -> Path:
        path = folder / name
        return path if path.exists() else written(path, frames, *options, **more)

    return make


def begin_of(frames: np.ndarray) -> np.ndarray:
    """The first column of the white square in each of `squares`."""
    begins: np.ndarray = (frames[:, 15, :, 0] > 128).argmax(axis=1)
    return begins


def tells_the_last(ffmpeg: Path) -> bool:
    """Whether an ffmpeg tells how long a file's last frame is shown; before 6 it is taken for as long as the others."""
    version = launch.ffmpeg_version(str(ffmpeg)).lstrip("n")
    return int(version.split(".")[0]) >= 6


# times


def test_a_gifs_delays_are_followed(tmp_path: Path, ffmpeg: Path) -> None:
    (tmp_path / "a.gif").write_bytes(gif_of(GREYS, [10, 30, 10, 20, 5, 65, 10]))
    frames, result = read(tmp_path / "a.gif", SMALL, ffmpeg=ffmpeg)
    assert frames[:, 20, 20, 0].tolist() == list(GREYS)
    np.testing.assert_allclose(result.times, [0, 0.1, 0.4, 0.5, 0.7, 0.75, 1.4])
    assert result.end_seconds == pytest.approx(1.5, abs=1e-6 if tells_the_last(ffmpeg) else 0.1)


@pytest.mark.parametrize(
    ("delays", "shown"),
    [
        ([0] * 7, [0.1] * 7),
        ([1] * 7, [0.1] * 7),
        ([2] * 7, [0.02] * 7),
        ([0, 10, 1, 10, 0, 10, 0], [0.1] * 7),
        ([3, 1, 50, 1, 3, 0, 7], [0.03, 0.1, 0.5, 0.1, 0.03, 0.1, 0.07]),
    ],
)
def test_delays_too_short_are_shown_as_browsers_do(
    tmp_path: Path, ffmpeg: Path, delays: list[int], shown: list[float]
) -> None:
    (tmp_path / "a.gif").write_bytes(gif_of(GREYS, delays))
    frames, result = read(tmp_path / "a.gif", SMALL, ffmpeg=ffmpeg)
    assert frames[:, 20, 20, 0].tolist() == list(GREYS)
    np.testing.assert_allclose(np.diff(result.times), shown[:-1], atol=1e-6)
    if tells_the_last(ffmpeg):
        assert result.end_seconds == pytest.approx(sum(shown))


def test_short_delays_do_not_get_round_the_limit_on_seconds(tmp_path: Path, ffmpeg: Path) -> None:
    (tmp_path / "a.gif").write_bytes(gif_of(range(0, 240, 4), [1] * 60))  # 6 s as shown, 0.6 s by the word
    frames, result = read(tmp_path / "a.gif", Look(48, 64, max_seconds=0.5), ffmpeg=ffmpeg)
    assert frames[:, 20, 20, 0].tolist() == [0, 4, 8, 12, 16]
    assert result.end_seconds == pytest.approx(0.5)


@pytest.mark.parametrize("delays", [[10, 65535, 10, 10, 10, 10, 10], [65535] * 7, [10] * 6 + [65535]])
def test_huge_delays_end_at_the_limit(tmp_path: Path, ffmpeg: Path, delays: list[int]) -> None:
    (tmp_path / "a.gif").write_bytes(gif_of(GREYS, delays))
    _, result = read(tmp_path / "a.gif", SMALL, ffmpeg=ffmpeg)
    begins = np.cumsum([0, *delays[:-1]]) / 100
    np.testing.assert_allclose(result.times, begins[begins < 60])
    assert result.end_seconds <= 60
    if tells_the_last(ffmpeg):
        assert result.end_seconds == 60
        assert len(media.decode(tmp_path / "a.gif", height=48, width=64, fps=10, ffmpeg=ffmpeg)) == 600


def test_a_gif_that_repeats_is_read_once(tmp_path: Path, ffmpeg: Path) -> None:
    data = gif_of(GREYS, [10] * 7)
    for loops in (0, 3, 65535):
        again = data.replace(b"NETSCAPE2.0\x03\x01\x00\x00", b"NETSCAPE2.0\x03\x01" + loops.to_bytes(2, "little"))
        assert loops == 0 or again != data
        (tmp_path / "a.gif").write_bytes(again)
        frames, result = read(tmp_path / "a.gif", SMALL, ffmpeg=ffmpeg)
        assert (len(frames), result.end_seconds) == (7, pytest.approx(0.7))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_a_variable_rate_is_followed(made: Callable[..., Path], ffmpeg: Path, suffix: str) -> None:
    """Six frames at ten a second, then six at two and a half: B-frames and all."""
    times = [*np.arange(6) / 10, *(0.6 + np.arange(6) * 0.4)]
    clock = "settb=1/1000,setpts='if(lt(N,6),N*100,600+(N-6)*400)'"
    codec = ("-c:v", "libvpx-vp9") if suffix == ".webm" else (*LOSSLESS[:2], "-crf", "5", "-bf", "2")
    options = ("-vf", clock, "-fps_mode", "passthrough", "-enc_time_base", "1/1000", *codec, "-pix_fmt", "yuv420p")
    path = made(f"vfr{suffix}", squares(), *options)
    frames, result = read(path, SMALL, ffmpeg=ffmpeg)
    np.testing.assert_allclose(result.times, times, atol=2e-3)
    np.testing.assert_allclose(begin_of(frames), 4 + 2 * np.arange(12), atol=1)
    sampled = media.decode(path, height=48, width=64, fps=5, ffmpeg=ffmpeg)
    ticks = [max(n for n, t in enumerate(times) if t < (tick + 0.5) / 5) for tick in range(12)]
    np.testing.assert_allclose(begin_of(sampled[:12]), 4 + 2 * np.array(ticks), atol=1)


@pytest.mark.parametrize("fps", ["30000/1001", "24000/1001", "0.5", "60"])
def test_any_constant_rate(made: Callable[..., Path], ffmpeg: Path, fps: str) -> None:
    path = made(f"rate{fps.replace('/', '-')}.mp4", squares(9), *LOSSLESS, fps=fps)
    top, _, bottom = fps.partition("/")
    rate = float(top) / float(bottom or 1)
    frames, result = read(path, SMALL, ffmpeg=ffmpeg)
    assert len(frames) == 9
    np.testing.assert_allclose(result.times, np.arange(9) / rate, atol=1e-4)
    assert result.end_seconds == pytest.approx(9 / rate, abs=1e-3)
    assert result.facts.fps == pytest.approx(rate, abs=0.01)


# parts

PARTS = {
    "a.gif": GIF,
    "a.mp4": (*LOSSLESS, "-bf", "3", "-g", "50"),
    "gop.mp4": (*LOSSLESS, "-bf", "2", "-g", "4"),
    "a.mkv": (*LOSSLESS, "-bf", "3", "-g", "50"),
    "a.ts": (*LOSSLESS, "-bf", "3", "-g", "50", "-f", "mpegts"),
    "gop.ts": (*LOSSLESS, "-bf", "2", "-g", "7", "-f", "mpegts"),
    "a.webm": ("-c:v", "libvpx-vp9", "-lossless", "1"),
    "a.flv": ("-c:v", "flv1", "-q:v", "2"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_file_is_what_lies_there(made: Callable[..., Path], ffmpeg: Path, name: str) -> None:
    path = made(f"part-{name}", squares(20), *PARTS[name])
    whole, _ = read(path, SMALL, ffmpeg=ffmpeg)
    assert len(whole) == 20
    parts = {
        (0.5, 1.0): (5, 10),
        (0.55, 1.05): (6, 11),
        (None, 0.75): (0, 8),
        (1.5, None): (15, 20),
        (0.0, 0.5): (0, 5),
    }
    jobs = [Job(path, start, end) for start, end in parts]
    for together in (False, True):  # also where several share a process
        results = (
            read_all(jobs, SMALL, ffmpeg=ffmpeg) if together else [read(job, SMALL, ffmpeg=ffmpeg) for job in jobs]
        )
        for result, (first, last) in zip(results, parts.values(), strict=True):
            assert not isinstance(result, MediaError)
            np.testing.assert_array_equal(result[0], whole[first:last])
            np.testing.assert_allclose(result[1].times, np.arange(last - first) / 10, atol=2e-3)


def test_a_part_ends_where_it_is_said_to(tmp_path: Path, ffmpeg: Path) -> None:
    (tmp_path / "a.gif").write_bytes(gif_of(GREYS, [10, 10, 500, 10, 10, 10, 10]))
    _, result = read(Job(tmp_path / "a.gif", None, 0.5), SMALL, ffmpeg=ffmpeg)
    assert len(result.times) == 3
    assert result.end_seconds <= 0.5
    _, result = read(Job(tmp_path / "a.gif", 0.1, 0.5), SMALL, ffmpeg=ffmpeg)
    assert len(result.times) == 2
    assert result.end_seconds <= 0.4


def test_a_part_behind_the_end_is_empty(made: Callable[..., Path], ffmpeg: Path) -> None:
    for name in ("a.gif", "a.mp4", "a.ts"):
        path = made(f"part-{name}", squares(20), *PARTS[name])
        with pytest.raises(MediaError, match="no frames in it"):
            read(Job(path, 3, 4), SMALL, ffmpeg=ffmpeg)


# transparency


def half_clear() -> np.ndarray:
    """Left red, right clear with blue beneath; a green square moves; uint8 (4, 48, 64, 4)."""
    out = np.zeros((4, 48, 64, 4), np.uint8)
    out[:, :, :32], out[:, :, 32:] = (200, 0, 0, 255), (0, 0, 200, 0)
    for t, frame in enumerate(out):
        frame[5 + t : 10 + t, 5:10] = (0, 255, 0, 255)
    return out


CLEAR = {
    "gif.gif": CLEAR_GIF,
    "prores.mov": ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"),
    "animation.mov": ("-c:v", "qtrle"),
    "png.mov": ("-c:v", "png"),
    "ffv1.mkv": ("-c:v", "ffv1", "-pix_fmt", "bgra"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "4", "-b:v", "0"),
    "vp8.webm": ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-b:v", "2M", "-auto-alt-ref", "0"),
    "many.pngs": ("-c:v", "png", "-f", "image2pipe"),
}


@pytest.mark.parametrize("name", CLEAR)
@pytest.mark.parametrize("background", ["white", "black", "#204060"])
def test_what_is_clear_shows_the_background(
    made: Callable[..., Path], ffmpeg: Path, name: str, background: str
) -> None:
    path = made(name, half_clear(), *CLEAR[name])
    frames, _ = read(path, Look(48, 64, background=background), ffmpeg=ffmpeg)
    colour = {"white": (255, 255, 255), "black": (0, 0, 0), "#204060": (32, 64, 96)}[background]
    assert frames.shape == (4, 48, 64, 3)
    np.testing.assert_allclose(frames[:, 24, 50].astype(int), [colour] * 4, atol=3)
    np.testing.assert_allclose(frames[:, 40, 20].astype(int), [(200, 0, 0)] * 4, atol=3)
    assert frames[0, 7, 7, 1] > 200


@pytest.mark.parametrize("name", ["A.GIF", "gif.mp4", "gif"])
def test_a_gif_is_known_by_its_bytes(made: Callable[..., Path], tmp_path: Path, ffmpeg: Path, name: str) -> None:
    shutil.copy(made("gif.gif", half_clear(), *CLEAR_GIF), tmp_path / name)
    frames, _ = read(tmp_path / name, Look(48, 64, background="#204060"), ffmpeg=ffmpeg)
    np.testing.assert_allclose(frames[:, 24, 50].astype(int), [(32, 64, 96)] * 4, atol=3)


def test_a_video_named_gif_is_a_video(made: Callable[..., Path], tmp_path: Path, ffmpeg: Path) -> None:
    shutil.copy(path := made("plain.mp4", squares(), *LOSSLESS), tmp_path / "a.gif")
    np.testing.assert_array_equal(
        read(tmp_path / "a.gif", SMALL, ffmpeg=ffmpeg)[0], read(path, SMALL, ffmpeg=ffmpeg)[0]
    )


def test_each_image_of_a_sequence_may_be_clear(tmp_path: Path, ffmpeg: Path) -> None:
    table = Image.new("P", (64, 48), 3)
    table.putpalette([0] * 768)
    images = [
        png(plain(0)),
        png(Image.new("RGBA", (64, 48), (0, 0, 0, 0))),
        png(Image.new("RGBA", (64, 48), (0, 0, 0, 128))),
        png(Image.new("LA", (64, 48), (0, 0))),
        png(plain(0), transparency=(0, 0, 0)),
        png(table, transparency=3),
        png(plain(0)),
    ]
    (tmp_path / "a.pngs").write_bytes(b"".join(images))
    frames, _ = read(tmp_path / "a.pngs", SMALL, ffmpeg=ffmpeg)
    np.testing.assert_allclose(frames[:, 20, 20, 0].astype(int), [0, 255, 127, 255, 255, 255, 0], atol=1)


def test_a_frame_that_clears_what_was_before_shows_the_background(tmp_path: Path, ffmpeg: Path) -> None:
    """Disposal to background: each frame stands alone on the canvas."""
    images = []
    for t in range(4):
        image = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
        image.paste((200, 0, 0, 255), (4 + 8 * t, 10, 12 + 8 * t, 20))
        images.append(image)
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100, disposal=2)
    frames, _ = read(tmp_path / "a.gif", Look(48, 64, background="#204060"), ffmpeg=ffmpeg)
    for t, frame in enumerate(frames):
        red = (frame == (200, 0, 0)).all(axis=-1)
        assert red[10:20, 4 + 8 * t : 12 + 8 * t].all()
        assert red.sum() == 80
        assert (frame[~red] == (32, 64, 96)).all()


# rotation


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_tags_are_obeyed(made: Callable[..., Path], ffmpeg: Path, degrees: int) -> None:
    plain_file = made("upright.mp4", quarters(), *LOSSLESS)
    path = copied(plain_file, plain_file.with_name(f"turned{degrees}.mp4"), before=("-display_rotation", str(degrees)))
    turned = np.rot90(quarters(), degrees // 90, axes=(1, 2))
    frames, result = read(path, Look(*turned.shape[1:3]), ffmpeg=ffmpeg)
    assert (result.facts.height, result.facts.width) == turned.shape[1:3]
    np.testing.assert_allclose(frames.astype(int), turned, atol=3)


def test_mirrored_tags_are_obeyed(made: Callable[..., Path], ffmpeg: Path) -> None:
    plain_file = made("upright.mp4", quarters(), *LOSSLESS)
    path = copied(plain_file, plain_file.with_name("mirrored.mp4"), before=("-display_hflip",))
    frames, _ = read(path, SMALL, ffmpeg=ffmpeg)
    np.testing.assert_allclose(frames.astype(int), quarters()[:, :, ::-1], atol=3)


def test_an_exif_orientation_is_obeyed(tmp_path: Path, ffmpeg: Path) -> None:
    image = Image.fromarray(quarters(1)[0])
    (tmp_path / "a.mjpeg").write_bytes(jpeg(image, orientation=6) * 3)  # to be turned clockwise
    frames, _ = read(tmp_path / "a.mjpeg", Look(64, 48), ffmpeg=ffmpeg)
    expected = [CORNERS[2], CORNERS[0], CORNERS[3], CORNERS[1]]
    for frame in frames:
        np.testing.assert_allclose(corners(frame), expected, atol=6)


# colours

TEN_BITS = {
    "h265": ("-c:v", "libx265", "-x265-params", "log-level=error:lossless=1", "-pix_fmt", "yuv444p10le"),
    "h265-420": ("-c:v", "libx265", "-x265-params", "log-level=error:lossless=1", "-pix_fmt", "yuv420p10le"),
    "h264": ("-c:v", "libx264", "-crf", "0", "-pix_fmt", "yuv444p10le"),
    "h264-422": ("-c:v", "libx264", "-crf", "0", "-pix_fmt", "yuv422p10le"),
    "vp9": ("-c:v", "libvpx-vp9", "-lossless", "1", "-pix_fmt", "yuv444p12le"),
    "ffv1-16": ("-c:v", "ffv1", "-pix_fmt", "gbrp16le"),
    "prores": ("-c:v", "prores_ks", "-profile:v", "3", "-pix_fmt", "yuv422p10le"),
}


@pytest.mark.parametrize("codec", TEN_BITS)
def test_more_than_eight_bits_give_the_same_colours(made: Callable[..., Path], ffmpeg: Path, codec: str) -> None:
    frames, _ = read(made(f"{codec}.mkv", quarters(), *TEN_BITS[codec]), SMALL, ffmpeg=ffmpeg)
    assert frames.shape == (4, 48, 64, 3)
    np.testing.assert_allclose(corners(frames[0]), CORNERS, atol=2)


@pytest.mark.parametrize("reach", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ["bt709", "bt601", "bt2020"])
def test_range_and_matrix_tags_are_obeyed(made: Callable[..., Path], ffmpeg: Path, reach: str, matrix: str) -> None:
    tag = {"bt601": "smpte170m", "bt2020": "bt2020nc"}.get(matrix, matrix)
    scaled = f"scale=out_range={reach}:out_color_matrix={matrix},format=yuv444p"
    tags = ("-colorspace", tag, "-color_range", reach)
    path = made(f"{matrix}-{reach}.mp4", quarters(), "-vf", scaled, "-c:v", "libx264", "-crf", "0", *tags)
    frames, _ = read(path, SMALL, ffmpeg=ffmpeg)
    np.testing.assert_allclose(corners(frames[0]), CORNERS, atol=2)


def test_without_tags_colours_are_taken_as_bt601(made: Callable[..., Path], ffmpeg: Path) -> None:
    """What ffmpeg does; players guess bt709 for large frames, and no guess is right for all."""
    options = ("-vf", "scale=out_color_matrix=bt601,format=yuv444p,setparams=colorspace=unknown", "-c:v", "libx264")
    frames, _ = read(made("untagged.mp4", quarters(), *options, "-crf", "0"), SMALL, ffmpeg=ffmpeg)
    np.testing.assert_allclose(corners(frames[0]), CORNERS, atol=2)


# shapes


def middle() -> np.ndarray:
    """A white square of 16 pixels in the middle of 48x64; uint8 (4, 48, 64, 3)."""
    out = np.zeros((4, 48, 64, 3), np.uint8)
    out[:, 16:32, 24:40] = 255
    return out


def reach_of(frame: np.ndarray) -> tuple[int, int]:
    """Rows and columns of what is white."""
    rows, columns = np.nonzero(frame[..., 0] > 128)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize(
    ("pixel", "fit", "expected"),
    [
        ("2/1", "crop", (16, 32)),  # 48x128 as shown
        ("2/1", "pad", (6, 12)),
        ("2/1", "stretch", (16, 12)),
        ("1/2", "crop", (24, 12)),  # 48x32 as shown
        ("1/2", "pad", (16, 8)),
        ("1/2", "stretch", (16, 12)),
    ],
)
def test_pixels_that_are_not_square_are_shown_as_they_are_meant(
    made: Callable[..., Path], ffmpeg: Path, pixel: str, fit: media.Fit, expected: tuple[int, int]
) -> None:
    path = made(f"sar{pixel[0]}.mkv", middle(), "-vf", f"setsar={pixel}", *LOSSLESS)
    frames, _ = read(path, Look(48, 48, fit=fit), ffmpeg=ffmpeg)
    np.testing.assert_allclose(reach_of(frames[0]), expected, atol=1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (48, 1), (3, 500), (33, 47), (47, 33), (481, 7)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_any_shape_is_fitted(made: Callable[..., Path], ffmpeg: Path, shape: tuple[int, int], fit: media.Fit) -> None:
    path = made(f"shape{shape[0]}x{shape[1]}.mkv", np.full((3, *shape, 3), 200, np.uint8), "-c:v", "png")
    frames, _ = read(path, Look(20, 20, fit=fit), ffmpeg=ffmpeg)
    assert frames.shape == (3, 20, 20, 3)
    if fit != "pad":
        assert (frames == 200).all()
    else:
        height, width = (round(20 * side / max(shape)) for side in shape)
        filled = (frames[0] == 200).all(axis=-1)
        assert abs(filled.any(axis=1).sum() - max(1, height)) <= 1
        assert abs(filled.any(axis=0).sum() - max(1, width)) <= 1


@pytest.mark.parametrize("suffix", [".gif", ".mp4", ".mkv"])
def test_odd_sides_keep_their_last_row_and_column(made: Callable[..., Path], ffmpeg: Path, suffix: str) -> None:
    options = {".gif": GIF, ".mp4": LOSSLESS, ".mkv": ("-c:v", "ffv1")}[suffix]
    frames = quarters(4, 33, 47)
    back, _ = read(made(f"odd{suffix}", frames, *options), Look(33, 47), ffmpeg=ffmpeg)
    np.testing.assert_allclose(back.astype(int), frames, atol=2)


def test_shrinking_averages(made: Callable[..., Path], ffmpeg: Path) -> None:
    """Four pixels become their mean: no stair-steps, no ringing."""
    frames = np.random.default_rng(5).integers(0, 256, (3, 96, 128, 3), dtype=np.uint8)
    small, _ = read(made("noise.mkv", frames, "-c:v", "ffv1"), SMALL, ffmpeg=ffmpeg)
    mean = frames.reshape(3, 48, 2, 64, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(small.astype(float), mean, atol=1)


def test_the_picture_is_taken_not_the_cover_nor_the_sound(tmp_path: Path, ffmpeg: Path) -> None:
    (tmp_path / "cover.png").write_bytes(png(plain(200)))
    written(tmp_path / "a.mp4", squares(), *LOSSLESS)
    command = [str(FFMPEG), "-v", "error", "-i", "cover.png", "-i", "a.mp4", "-f", "lavfi", "-i", "sine=d=3"]
    streams = ["-map", "0", "-map", "2", "-map", "1", "-c:v", "copy", "-c:a", "aac", "-disposition:v:0", "attached_pic"]
    subprocess.run([*command, *streams, "-y", "all.mp4"], cwd=tmp_path, check=True)
    frames, result = read(tmp_path / "all.mp4", SMALL, ffmpeg=ffmpeg)
    np.testing.assert_array_equal(frames, read(tmp_path / "a.mp4", SMALL, ffmpeg=ffmpeg)[0])
    assert result.facts.codec == "h264"
    only_sound = tmp_path / "sound.mp4"
    subprocess.run([*command[:3], "-f", "lavfi", "-i", "sine=d=1", "-y", str(only_sound)], check=True)
    with pytest.raises(MediaError, match="no video in it"):
        read(only_sound, SMALL, ffmpeg=ffmpeg)


# sequences

SEQUENCES: dict[str, list[bytes]] = {
    "plain": [jpeg(plain(grey)) for grey in GREYS],
    "thumbnails": [jpeg(plain(grey), thumbnail=True) for grey in GREYS],
    "sizes": [
        jpeg(plain(grey, size))
        for grey, size in zip(
            GREYS, [(64, 48), (100, 30), (30, 100), (640, 480), (63, 47), (1, 1), (64, 48)], strict=True
        )
    ],
    "modes": [
        jpeg(plain(0, mode="L")),
        jpeg(plain(40)),
        jpeg(plain(80), progressive=True),
        jpeg(plain(120), subsampling=0),
        jpeg(plain(160), subsampling=1),
        jpeg(plain(200, mode="L"), progressive=True),
        jpeg(plain(240), restart_marker_blocks=2),
    ],
    "thumbnails of many sizes": [
        jpeg(plain(grey, (64 + 16 * n, 48)), thumbnail=n % 2 == 0) for n, grey in enumerate(GREYS)
    ],
}


@pytest.mark.parametrize("kind", SEQUENCES)
def test_every_jpeg_of_a_sequence_is_one_frame(tmp_path: Path, ffmpeg: Path, kind: str) -> None:
    (tmp_path / "a.mjpeg").write_bytes(b"".join(SEQUENCES[kind]))
    frames, result = read(tmp_path / "a.mjpeg", SMALL, ffmpeg=ffmpeg)
    np.testing.assert_allclose(frames[:, 24, 32].astype(int), [[grey] * 3 for grey in GREYS], atol=1)
    np.testing.assert_allclose(result.times, np.arange(7) / 10)
    assert result.end_seconds == pytest.approx(0.7)


def test_many_jpegs_larger_than_any_buffer(tmp_path: Path, ffmpeg: Path) -> None:
    rng = np.random.default_rng(2)
    noise = [rng.integers(0, 256, (480, 640, 3), dtype=np.uint8) for _ in range(12)]
    images = [jpeg(Image.fromarray(frame), thumbnail=True) for frame in noise]
    (tmp_path / "a.mjpeg").write_bytes(b"".join(images))
    frames, _ = read(tmp_path / "a.mjpeg", SMALL, ffmpeg=ffmpeg)
    assert len(frames) == 12
    means = [frame.reshape(48, 10, 64, 10, 3).mean(axis=(1, 3)) for frame in noise]
    assert np.abs(frames - np.array(means)).mean() < 3


def test_every_png_of_a_sequence_is_one_frame(tmp_path: Path, ffmpeg: Path) -> None:
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 256, (9, 48, 64, 3), dtype=np.uint8)
    (tmp_path / "a.pngs").write_bytes(b"".join(png(Image.fromarray(frame)) for frame in frames))
    np.testing.assert_array_equal(read(tmp_path / "a.pngs", SMALL, ffmpeg=ffmpeg)[0], frames)
    deep = Image.fromarray((np.arange(48 * 64, dtype=np.uint16) * 21).reshape(48, 64))
    kinds = [png(plain(100, mode=mode)) for mode in ("L", "RGB", "RGBA", "LA", "P")]
    sizes = [png(plain(100, size)) for size in ((1, 1), (500, 3), (30, 100))]
    (tmp_path / "b.pngs").write_bytes(b"".join([*kinds, *sizes, png(deep)]))
    read_back, _ = read(tmp_path / "b.pngs", SMALL, ffmpeg=ffmpeg)
    assert len(read_back) == 9
    np.testing.assert_allclose(read_back[:8, 24, 32].astype(int), 100, atol=1)
    assert read_back[8].max() > 240


@pytest.mark.parametrize("shape", [(6, 48, 64), (6, 48, 64, 3), (1, 48, 64), (5, 33, 47), (5, 33, 47, 3)])
def test_an_array_is_read_as_it_is(tmp_path: Path, ffmpeg: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "a.npy", array)
    frames, result = read(tmp_path / "a.npy", Look(*shape[1:3]), ffmpeg=ffmpeg)
    np.testing.assert_array_equal(frames, array if len(shape) == 4 else array[..., None].repeat(3, -1))
    np.testing.assert_allclose(result.times, np.arange(shape[0]) / 10)


def test_sequences_take_the_rate_that_is_wanted(tmp_path: Path, ffmpeg: Path) -> None:
    np.save(tmp_path / "a.npy", squares()[..., 0])
    (tmp_path / "a.mjpeg").write_bytes(b"".join(SEQUENCES["plain"]))
    for name, count in (("a.npy", 12), ("a.mjpeg", 7)):
        frames = media.decode(tmp_path / name, height=48, width=64, fps=25, ffmpeg=ffmpeg)
        assert len(frames) == count
        part, _ = read(Job(tmp_path / name, 0.2, 0.5), Look(48, 64, untimed_fps=10), ffmpeg=ffmpeg)
        np.testing.assert_array_equal(part, frames[2:5])


# black bars


def picture(count: int = 8) -> np.ndarray:
    t, y, x = np.mgrid[:count, :48, :64]
    waves = [np.sin((x + 2 * t) / 9), np.sin((y - t) / 7), np.cos((x + y + t) / 11)]
    return np.stack([155 + 90 * wave for wave in waves], axis=-1).astype(np.uint8)


def barred(top: int = 0, bottom: int = 0, left: int = 0, right: int = 0, black: int = 0) -> np.ndarray:
    out = np.full((8, 48, 64, 3), black, np.uint8)
    inner = slice(top, 48 - bottom), slice(left, 64 - right)
    out[:, inner[0], inner[1]] = picture()[:, inner[0], inner[1]]
    return out


def late() -> np.ndarray:
    out = picture()
    out[4:] = barred(8, 8)[4:]
    return out


def night() -> np.ndarray:
    """A dark scene with a lamp in it."""
    out = picture() // 12
    out[:, 20:28, 28:36] = 200
    return out


def lit_late() -> np.ndarray:
    out = picture()
    out[:7] = 0
    return out


BARS: dict[str, tuple[np.ndarray, tuple[int, int, int, int] | None]] = {
    "none": (picture(), None),
    "letterbox": (barred(8, 8), (64, 32, 0, 8)),
    "pillarbox": (barred(0, 0, 10, 10), (44, 48, 10, 0)),
    "windowbox": (barred(6, 6, 8, 8), (48, 36, 8, 6)),
    "uneven": (barred(10, 0, 0, 4), (60, 38, 0, 10)),
    "not quite black": (barred(8, 8, 0, 0, 6), (64, 32, 0, 8)),
    "all black": (np.zeros((8, 48, 64, 3), np.uint8), None),
    "dark": (picture() // 12, None),
    "night": (night(), None),
    "mostly bars": (barred(20, 20, 20, 20), None),
    "late": (late(), None),
    "lit late": (lit_late(), None),
}
BARS_IN = {
    "x.mp4": ("-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv420p"),
    "ten.mkv": TEN_BITS["h265-420"],
    "x.gif": GIF,
    "x.avi": ("-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj420p"),
    "x.pngs": ("-c:v", "png", "-f", "image2pipe"),
}


@pytest.mark.parametrize("name", BARS_IN)
def test_black_bars_are_cut_off(made: Callable[..., Path], ffmpeg: Path, name: str) -> None:
    kinds = list(BARS) if name == "x.mp4" else ["none", "letterbox", "uneven", "dark"]
    look, whole = Look(48, 64, crop_bars=True, fit="stretch"), Look(48, 64, fit="stretch")
    paths = [made(f"bars-{kind}-{name}", BARS[kind][0], *BARS_IN[name]) for kind in kinds]
    results = zip(read_all(paths, look, ffmpeg=ffmpeg), read_all(paths, whole, ffmpeg=ffmpeg), strict=True)
    for kind, (cropped, uncropped) in zip(kinds, results, strict=True):
        box = BARS[kind][1]
        assert not isinstance(cropped, MediaError)
        assert not isinstance(uncropped, MediaError)
        (frames, decoded), plain_frames = cropped, uncropped[0]
        assert decoded.bars == (box is not None), kind
        if box is None:
            np.testing.assert_array_equal(frames, plain_frames)
        else:
            width, height, x, y = box
            rows, columns = y + np.arange(48) * height // 48, x + np.arange(64) * width // 64
            nearest = plain_frames[:, rows][:, :, columns]
            assert np.abs(frames.astype(int) - nearest).mean() < 8, kind
            assert frames[:, [0, -1]].mean() > 60, kind
            assert frames[:, :, [0, -1]].mean() > 60, kind


def test_bars_are_cut_off_where_they_are_seen(made: Callable[..., Path], ffmpeg: Path) -> None:
    """A turned video's bars are found as it is shown; what is clear over white is no black bar."""
    upright = made("bars-letterbox-t.mp4", barred(8, 8), *LOSSLESS)
    turned = copied(upright, upright.with_name("bars-turned.mp4"), before=("-display_rotation", "90"))
    frames, result = read(turned, Look(64, 32, crop_bars=True), ffmpeg=ffmpeg)
    assert result.bars
    np.testing.assert_allclose(frames.astype(int), np.rot90(picture()[:, 8:40], axes=(1, 2)), atol=4)
    clear = np.zeros((4, 48, 64, 4), np.uint8)
    clear[:, 10:38, 10:54, :3], clear[:, 10:38, 10:54, 3] = picture()[:4, 10:38, 10:54], 255
    for name in ("gif.gif", "many.pngs", "prores.mov", "ffv1.mkv", "vp9.webm"):
        path = made(f"bars-clear-{name}", clear, *CLEAR[name])
        for background, bars in (("white", False), ("black", True)):
            _, result = read(path, Look(48, 64, crop_bars=True, background=background), ffmpeg=ffmpeg)
            assert result.bars == bars, (name, background)


# through transcode: what is counted


def shards_of(folder: Path, files: dict[str, Path], **changes: Any) -> tuple[dict[str, Any], dict[str, Any], Shards]:
    """Transcodes files as fetch would hand them over; figures, rows by name, shards."""
    raw = folder / "raw"
    (raw / "files").mkdir(parents=True)
    with (raw / "sources.jsonl").open("w") as lines:
        for name, path in files.items():
            sha256 = file_sha256(path)
            shutil.copy(path, raw / "files" / f"{sha256}{path.suffix}")
            row = {"name": name, "origin": name, "file": f"{sha256}{path.suffix}", "sha256": sha256}
            row |= {
                "bytes": path.stat().st_size,
                "group": name,
                "label": "",
                "licence": "",
                "status": "ok",
                "reason": "",
            }
            lines.write(json.dumps(row | {"part": "", "start_seconds": None, "end_seconds": None}) + "\n")
    params = TranscodeParams(height=24, width=24, buckets=2).model_copy(update=changes)
    done = transcode(
        raw, folder / "shards", folder / "cache", params,
        version=launch.ffmpeg_version(params.ffmpeg), engine=local_engine(2), workers=2,
    )  # fmt: skip
    rows = pq.read_table(folder / "shards" / "sources.parquet").to_pylist()
    return done.summary, {row["name"]: row for row in rows}, Shards(folder / "shards")


def moving(count: int, seed: int = 0) -> np.ndarray:
    """Bars that move on by a pixel a frame; uint8 (T, 24, 24, 3)."""
    row = np.random.default_rng(seed).integers(0, 8, 24) * 30
    frames = np.stack([np.broadcast_to(np.roll(row, t), (24, 24)) for t in range(count)])
    return frames[..., None].repeat(3, -1).astype(np.uint8)


def test_cuts_freezes_and_stills_are_counted(tmp_path: Path, ffmpeg: Path) -> None:
    clip = moving(30)
    drift = np.full((14, 24, 24, 3), 100, np.uint8)
    for t, frame in enumerate(drift):
        frame.reshape(-1)[: 120 * t] += 1
    cut = np.concatenate([clip[:10] // 4, 255 - clip[10:20] // 4])
    files = {
        "whole": clip[:20],
        "cut": cut,
        "frozen end": np.concatenate([clip[:8], clip[7:8].repeat(9, 0)]),
        "frozen middle": np.concatenate([clip[:8], clip[7:8].repeat(6, 0), clip[8:16]]),
        "still": clip[:1].repeat(20, 0),
        "drift": drift,
        "short": clip[:4],
        "cut up": np.concatenate([np.concatenate([clip[:3] // 4, 255 - clip[:3] // 4]) for _ in range(4)]),
    }
    paths = {name: written(tmp_path / f"{name}.gif", frames, *GIF) for name, frames in files.items()}
    summary, rows, shards = shards_of(tmp_path, paths, ffmpeg=str(ffmpeg))
    lengths = {name: [clip.length for clip in shards.clips if clip.source == name] for name in files}
    assert lengths == {
        "whole": [20], "cut": [10, 10], "frozen end": [8], "frozen middle": [8, 9],
        "still": [], "drift": [], "short": [], "cut up": [],
    }  # fmt: skip
    reasons = {name: row["reason"] for name, row in rows.items() if row["reason"]}
    assert reasons["still"].startswith("frozen: 19 of 20 frames repeat")
    assert reasons["drift"].startswith("too little motion: 0.0")
    assert reasons["short"] == "too short: 4 frames at 10 fps, 6 needed (transcode.min_frames)"
    assert reasons["cut up"].startswith("cut up: 7 cuts")
    assert {name: row["cuts"] for name, row in rows.items()} == dict.fromkeys(files, 0) | {"cut": 1, "cut up": 7}
    assert {name: row["freezes"] for name, row in rows.items() if row["freezes"]} == {
        "frozen end": 1, "frozen middle": 1, "still": 1,
    }  # fmt: skip
    assert rows["frozen middle"]["frozen_frames"] == 6
    assert (summary["inputs"], summary["kept"], summary["dropped"], summary["failed"]) == (8, 4, 4, 0)
    for key in ("cuts", "freezes", "frozen_frames", "still_clips", "short_clips"):
        assert summary[key] == sum(row[key] for row in rows.values())
    starts = [clip.start_seconds for clip in shards.clips if clip.source == "frozen middle"]
    assert starts == [0, 1.3]
    number = next(row for row, clip in enumerate(shards.clips) if (clip.source, clip.start_seconds) == ("cut", 1.0))
    np.testing.assert_array_equal(shards.frames(number, 0, 10), cut[10:])


def test_thresholds_are_obeyed(tmp_path: Path) -> None:
    clip = moving(30)
    files = {
        "cut": written(tmp_path / "cut.gif", np.concatenate([clip[:10] // 4, 255 - clip[10:20] // 4]), *GIF),
        "frozen": written(tmp_path / "f.gif", np.concatenate([clip[:8], clip[7:8].repeat(6, 0), clip[8:16]]), *GIF),
        "slow": written(tmp_path / "slow.gif", clip[:20] // 60, *GIF),
    }
    wide = {"cut_threshold": None, "max_freeze_seconds": None, "min_motion": 0}
    _, _, shards = shards_of(tmp_path / "all", files, **wide)
    assert {clip.source: clip.length for clip in shards.clips} == {"cut": 20, "frozen": 22, "slow": 20}
    _, rows, shards = shards_of(tmp_path / "motion", files, **wide | {"min_motion": 5})
    assert {clip.source for clip in shards.clips} == {"cut", "frozen"}
    assert rows["slow"]["reason"].startswith("too little motion: ")
    assert rows["slow"]["still_clips"] == 1
    _, _, shards = shards_of(tmp_path / "cuts", files, **wide | {"cut_threshold": 250})
    assert len(shards.clips) == 3
    _, _, shards = shards_of(tmp_path / "freeze", files, **wide | {"max_freeze_seconds": 0.8})
    assert len(shards.clips) == 3


def test_bars_are_counted(tmp_path: Path) -> None:
    files = {name: written(tmp_path / f"{name}.gif", BARS[name][0], *GIF) for name in ("none", "letterbox", "dark")}
    summary, rows, _ = shards_of(tmp_path, files, crop_bars=True, min_motion=0, cut_threshold=None)
    assert summary["bars"] == 1
    assert [name for name, row in rows.items() if row["bars"]] == ["letterbox"]


# real clips


def test_real_clips_with_a_rotation_tag_are_upright(shared_data: Path, ffmpeg: Path) -> None:
    for name, shape, turns in (("rotated_90.mov", (284, 160), -1), ("rotated_180.mov", (160, 284), 2)):
        path = shared_data / "odd" / name
        frames, _ = read(path, Look(*shape), ffmpeg=ffmpeg)
        command = [str(FFMPEG), "-v", "error", "-noautorotate", "-i", str(path), "-vf", "scale=284:160:flags=area"]
        raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
        lying = np.frombuffer(raw.stdout, np.uint8).reshape(-1, 160, 284, 3)
        upright = np.rot90(lying, turns, axes=(1, 2))  # as was seen by looking at them: keys of a keyboard
        assert frames.shape == upright.shape
        assert np.abs(frames.astype(int) - upright).mean() < 3
        assert np.abs(frames.astype(int) - upright[:, ::-1, ::-1]).mean() > 15


def test_the_frozen_frames_of_real_gifs_are_counted(shared_data: Path, tmp_path: Path) -> None:
    paths = {path.name: path for path in sorted((shared_data / "gifs").glob("*.gif"))}
    assert len(paths) == 37
    summary, rows, shards = shards_of(tmp_path, paths, height=64, width=64, min_frames=4)
    for name, path in paths.items():  # counted by another decoder, at full size
        with Image.open(path) as image:
            frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(image)]
        repeats = sum(np.abs(after - before).mean() <= 0.2 for before, after in pairwise(frames))
        assert (rows[name]["source_frames"], rows[name]["frozen_frames"]) == (len(frames), repeats), name
    assert summary["frozen_frames"] == 136
    assert summary["freezes"] == 34  # all of UCF-101's stand still at their end
    assert {clip.length for clip in shards.clips if clip.source.startswith("v_")} == {4}
    assert (summary["kept"], summary["failed"]) == (37, 0)


def test_a_real_corrupted_file_is_set_aside(shared_data: Path, tmp_path: Path, ffmpeg: Path) -> None:
    paths = {path.name: path for path in sorted((shared_data / "odd").iterdir())}
    paths["ava.gif"] = shared_data / "gifs" / "ava.gif"
    summary, rows, _ = shards_of(tmp_path, paths, ffmpeg=str(ffmpeg))
    assert rows["corrupted.mp4"]["status"] == "failed"
    assert rows["corrupted.mp4"]["reason"].startswith("damaged: ")
    assert rows["h265_10bits.mp4"]["status"] == "kept"
    assert (rows["rotated_90.mov"]["height"], rows["rotated_90.mov"]["width"]) == (568, 320)
    assert summary["reasons"]["damaged"] == 1
