"""Images in folders and NumPy videos: in order, whole, told apart from what is none, and read one at a time."""

from __future__ import annotations

import io
import random
import resource
import struct
import subprocess
import time
import zlib
from contextlib import suppress
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from vidpred.config import FetchParams
from vidpred.data.sequences import (
    SequenceError,
    grouped_by_folder,
    natural_key,
    pack_images,
    split_npy,
    write_npy,
)

PARAMS = FetchParams(source="x")


def picture(number: int, kind: str = "JPEG", **how: object) -> bytes:
    """A picture of its own, 24x32."""
    pixels = np.random.default_rng(number).integers(0, 256, (3, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **how)
    return file.getvalue()


def frames_in(path: Path, demuxer: str) -> list[bytes]:
    """As ffmpeg reads the file: the PNG of each frame."""
    out = path.with_suffix(".d")
    out.mkdir()
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-f",
        demuxer,
        "-i",
        str(path),
        "-fps_mode",
        "passthrough",
    ]
    told = subprocess.run([*command, str(out / "%04d.png")], capture_output=True, check=True, text=True).stderr
    assert told == ""
    return [file.read_bytes() for file in sorted(out.iterdir())]


def test_natural_order() -> None:
    cats = ["cat_result.jpg", *(f"cat_{n}.jpg" for n in (4, 10, 2, 0, 1, 3, 100, 20))]
    assert sorted(cats, key=natural_key) == [*(f"cat_{n}.jpg" for n in (0, 1, 2, 3, 4, 10, 20, 100)), "cat_result.jpg"]
    mixed = ["b1", "A2", "a10", "a2", "a02", "", "a", "9" * 5000, "1²", "a2b"]
    assert sorted(mixed, key=natural_key) == ["", "1²", "9" * 5000, "a", "A2", "a02", "a2", "a2b", "a10", "b1"]
    names = [f"{a}{b}{c}" for a in ("", "x", "7", "07", "٣") for b in ("", "_", "10") for c in ("", "y", "0", ".png")]
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == sorted(names, key=natural_key)


def test_images_are_grouped_by_folder() -> None:
    names = ["train/10/cat_result.jpg", "train/10/cat_0.JPG", "train/2/cat_1.jpeg", "train/2/cat_0.jpg", "readme.txt"]
    names += ["train/2/notes.txt", "top.png", "train/2/clip.gif"]
    groups = grouped_by_folder(names)
    assert list(groups.items()) == [
        ("", ["top.png"]),
        ("train/2", ["train/2/cat_0.jpg", "train/2/cat_1.jpeg"]),
        ("train/10", ["train/10/cat_0.JPG", "train/10/cat_result.jpg"]),
    ]
    assert grouped_by_folder(random.Random(0).sample(names, len(names))) == groups


@pytest.mark.parametrize(("kind", "suffix", "demuxer"), [("JPEG", ".mjpeg", "mjpeg"), ("PNG", ".pngs", "png_pipe")])
def test_packed_images_are_their_own_bytes_and_as_many_frames(
    tmp_path: Path, kind: str, suffix: str, demuxer: str
) -> None:
    images = [picture(n, kind) for n in range(6)]
    paths = []
    for number, data in enumerate(images[:3]):
        paths.append(tmp_path / f"{number}.img")
        paths[-1].write_bytes(data)
    mixed = [*paths, *(io.BytesIO(data) for data in images[3:])]
    out = tmp_path / "out"
    assert pack_images(mixed, out, max_bytes=1 << 20) == suffix
    assert out.read_bytes() == b"".join(images)
    read = frames_in(out, demuxer)
    assert len(read) == 6
    for frame, data in zip(read, images, strict=True):
        one, other = (np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).astype(int) for raw in (frame, data))
        assert np.abs(one - other).mean() < 16  # decoders differ in how they enlarge colour


def test_what_follows_an_image_is_left_out(tmp_path: Path) -> None:
    """A second picture behind the first, as some cameras write, and a thumbnail inside it."""
    thumbnail = b"\xff\xe0" + struct.pack(">H", 2 + 6 + len(picture(9))) + b"JFXX\0\x10" + picture(9)
    plain, progressive = picture(0), picture(1, progressive=True)
    nested = plain[:2] + thumbnail + plain[2:]
    restarts = picture(2, restart_marker_blocks=1)
    filled = plain.replace(b"\xff\xda", b"\xff\xff\xff\xda", 1)
    images = [plain, progressive, nested, restarts, filled]
    out = tmp_path / "out"
    for trailer in (b"", b"\0" * 7, b"\r\n", picture(5), b"maker's notes \xff\xd8\xff"):
        pack_images([io.BytesIO(image + trailer) for image in images], out, max_bytes=1 << 20)
        assert out.read_bytes() == b"".join(images)
    assert len(frames_in(out, "mjpeg")) == len(images)
    png = [picture(n, "PNG") for n in range(2)]
    pack_images([io.BytesIO(image + b"after\x89PNG\r\n\x1a\n") for image in png], out, max_bytes=1 << 20)
    assert out.read_bytes() == b"".join(png)


def test_a_jpeg_that_is_one_long_marker_is_told_at_once(tmp_path: Path) -> None:
    whole = picture(0)
    scan = whole.index(b"\xff\xda")
    began = time.process_time()
    with pytest.raises(SequenceError):
        pack_images(
            [io.BytesIO(whole), io.BytesIO(whole[: scan + 14] + b"\xff" * 1_000_000)],
            tmp_path / "out",
            max_bytes=1 << 22,
        )
    assert time.process_time() - began < 5


def test_images_that_are_no_sequence(tmp_path: Path) -> None:
    jpeg, png = picture(0), picture(0, "PNG")
    out = tmp_path / "out"

    def told(*images: bytes, max_bytes: int = 1 << 20) -> str:
        with pytest.raises(SequenceError) as error:
            pack_images([io.BytesIO(image) for image in images], out, max_bytes=max_bytes)
        assert list(tmp_path.iterdir()) == []
        assert "\n" not in str(error.value)
        return str(error.value)

    assert told() == "no image"
    assert told(jpeg) == "single image: a sequence has two or more"
    assert told(jpeg, jpeg, png) == "mixed images: image 3 is not of the kind of those before it"
    assert told(jpeg, b"GIF89a\n") == "no image: image 2 is no JPEG or PNG, it begins with b'GIF89a\\n'"
    assert told(jpeg, b"").startswith("no image: image 2")
    assert told(jpeg, jpeg, max_bytes=2 * len(jpeg) - 1).startswith("too large: more than ")
    assert told(jpeg, jpeg, max_bytes=len(jpeg) - 1).startswith("too large: image 1 has more than ")
    for image in (jpeg, png):
        for end in range(8, len(image), 7):
            assert told(image, image[:end]) == "cut short: image 2 has no end"
    assert told(jpeg, jpeg[:-2] + jpeg) == "cut short: image 2 has no end"
    with pytest.raises(SequenceError, match="cannot be read: image 1: No such file"):
        pack_images([tmp_path / "none.jpg", tmp_path / "none.jpg"], out, max_bytes=100)


def test_images_with_flipped_bits_never_crash(tmp_path: Path) -> None:
    draw = random.Random(0)
    for whole in (picture(0), picture(0, "PNG")):
        for _ in range(100):
            raw = bytearray(whole)
            for _ in range(draw.choice((1, 5))):
                raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
            with suppress(SequenceError):
                pack_images([io.BytesIO(whole), io.BytesIO(raw)], tmp_path / "out", max_bytes=1 << 20)


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    ("shape", "videos", "video", "axes"),
    [
        ((7, 16, 24), 1, (7, 16, 24), (0, 1, 2)),
        ((7, 16, 24, 3), 1, (7, 16, 24, 3), (0, 1, 2, 3)),
        ((7, 16, 24, 1), 1, (7, 16, 24), (0, 1, 2)),
        ((5, 12, 16, 24), 12, (5, 16, 24), (1, 0, 2, 3)),  # Moving MNIST: time first
        ((12, 5, 16, 24), 12, (5, 16, 24), (0, 1, 2, 3)),
        ((12, 5, 16, 24, 3), 12, (5, 16, 24, 3), (0, 1, 2, 3, 4)),
        ((5, 12, 16, 24, 3), 12, (5, 16, 24, 3), (1, 0, 2, 3, 4)),
        ((12, 5, 3, 16, 24), 12, (5, 16, 24, 3), (0, 1, 3, 4, 2)),
        ((12, 5, 1, 16, 24), 12, (5, 16, 24), (0, 1, 3, 4, 2)),
        ((1, 5, 16, 24), 1, (5, 16, 24), (0, 1, 2, 3)),
        ((5, 1, 16, 24), 1, (5, 16, 24), (1, 0, 2, 3)),
        ((1, 5, 16, 24, 1), 1, (5, 16, 24), (0, 1, 2, 3, 4)),
    ],
)
def test_shapes_of_arrays(
    tmp_path: Path, shape: tuple[int, ...], videos: int, video: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = list(split_npy(saved(tmp_path / "a.npy", array), params=PARAMS))
    expected = array.transpose(*axes, *range(len(axes), array.ndim)).reshape(videos, *video)
    assert [name for name, _ in found] == ([""] if videos == 1 else [f"{n:02d}" for n in range(videos)])
    for (_, frames), wanted in zip(found, expected, strict=True):
        assert frames.dtype == np.uint8
        np.testing.assert_array_equal(frames, wanted)
        write_npy(tmp_path / "out.npy", frames)
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)


def test_a_written_video_has_always_the_same_bytes(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 10, 3), np.uint8)
    write_npy(tmp_path / "a.npy", frames)
    write_npy(tmp_path / "b.npy", np.asfortranarray(frames))
    raw = (tmp_path / "a.npy").read_bytes()
    assert raw == (tmp_path / "b.npy").read_bytes()
    assert raw[:8] == b"\x93NUMPY\x01\x00"
    assert b"'fortran_order': False" in raw
    assert raw.endswith(frames.tobytes())
    for wrong in (frames.astype(float), frames[0, 0], frames[..., :2]):
        with pytest.raises(ValueError, match=r"is no uint8 \(T, H, W\)"):
            write_npy(tmp_path / "c.npy", wrong)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 16, 16), np.float32), "no video: holds float32; save np.round(255 * x) as uint8"),
        (np.zeros((4, 16, 16), bool), "no video: holds bool; save 255 * x as uint8"),
        (np.zeros((4, 16, 16), np.int64), "no video: holds int64; save x as uint8"),
        (np.zeros((4, 16, 16), [("a", np.uint8)]), "no video: holds [('a', 'u1')]; save x as uint8"),
        (np.asfortranarray(np.zeros((4, 16, 16), np.uint8)), "no video: is in Fortran order"),
        (np.zeros((16, 16), np.uint8), "no video: shape (16, 16)"),
        (np.zeros((), np.uint8), "no video: shape ()"),
        (np.zeros((0, 16, 16), np.uint8), "no video: shape (0, 16, 16)"),
        (np.zeros((1, 16, 16), np.uint8), "no video: shape (1, 16, 16) would be 1 frames"),
        (np.zeros((480, 640, 3), np.uint8), "no video: shape (480, 640, 3) would be 480 frames of 640x3"),
        (np.zeros((9, 16, 16, 4), np.uint8), "no video: shape (9, 16, 16, 4) would be 9 frames of 16x4"),
        (np.zeros((9, 3, 16, 16), np.uint8), "no video: shape (9, 3, 16, 16): save colours as the last axis"),
        (np.zeros((9, 9, 16, 16), np.uint8), "ambiguous: shape (9, 9, 16, 16): which axis is time?"),
        (np.zeros((9, 8, 16, 16, 2), np.uint8), "no video: shape (9, 8, 16, 16, 2): neither"),
        (np.array([object()]), "no video: holds object"),
    ],
)
def test_arrays_that_are_no_video(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    with pytest.raises(SequenceError) as error:
        list(split_npy(saved(tmp_path / "a.npy", array), params=PARAMS))
    assert str(error.value).startswith(reason)
    assert "\n" not in str(error.value)


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "damaged: no .npy header"),
        (b"PK\x03\x04 an npz", "damaged: no .npy header"),
        (b"\x80\x04\x95 a pickle", "damaged: no .npy header"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "damaged: no .npy header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "damaged: no .npy header"),
        (
            header("{'descr': '|u1', 'fortran_order': False, 'shape': (99, 100, 100)}"),
            "cut short: 0 of the 990000 bytes",
        ),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (10**30, 9, 9)}"), "damaged: no .npy header"),
        (header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**30}, 9, 9)}}"), "cut short: 0 of the "),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (-5, -16, 16)}"), "no video: shape (-5, -16, 16)"),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (5, 'x', 16)}"), "damaged: no .npy header"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (5, 9, 9)}"), "no video: holds object"),
        (header("{'descr': 'x9', 'fortran_order': False, 'shape': (5, 9, 9)}"), "damaged: no .npy header"),
        (header("__import__('os').system('touch owned')"), "damaged: no .npy header"),
        (header("(" * 5000), "damaged: no .npy header"),
        (header("{'descr': '" + "x" * 20_000 + "'}"), "damaged: no .npy header"),
        (header("{" + "[" * 900 + "]" * 900 + "}"), "damaged: no .npy header"),
        (header("'unended"), "damaged: no .npy header"),
        (header("{'shape': (5L, 9L"), "damaged: no .npy header"),
        (header("{}", b"\x03\x00"), "no video: an .npy of version (3, 0)"),
        (header("{}", b"\x09\x00"), "no video: an .npy of version (9, 0)"),
    ],
)
def test_hostile_headers(tmp_path: Path, data: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(SequenceError) as error:
        list(split_npy(tmp_path / "a.npy", params=PARAMS))
    assert str(error.value).startswith(reason), error.value
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_header_of_python_2_is_read(tmp_path: Path) -> None:
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (5L, 6L, 8L, 8L), }"
    (tmp_path / "a.npy").write_bytes(header(text.ljust(70)) + bytes(range(240)) * 8)
    assert len(list(split_npy(tmp_path / "a.npy", params=PARAMS))) == 6


def test_limits_of_arrays(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", np.zeros((5, 12, 16, 16), np.uint8))
    with pytest.raises(SequenceError, match=r"too large: a video has more than 1279 bytes \(fetch.max_bytes\)"):
        next(split_npy(path, params=FetchParams(source="x", max_bytes=1279)))
    with pytest.raises(SequenceError, match="too large: 12 videos in "):
        next(split_npy(path, params=FetchParams(source="x", max_members=11)))
    with pytest.raises(SequenceError, match="too large: 12 videos in "):
        next(split_npy(path, params=FetchParams(source="x", max_archive_bytes=15_000)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SequenceError, match="cut short: 15359 of the 15360 bytes"):
        next(split_npy(path, params=PARAMS))
    with pytest.raises(SequenceError, match="cannot be read: No such file"):
        next(split_npy(tmp_path / "none.npy", params=PARAMS))


@pytest.mark.parametrize("shape", [(20, 1500, 64, 64), (1500, 20, 64, 64), (30_000, 64, 64)])
def test_memory_is_that_of_one_video(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """123 MB, in either order, or in one video, which is mapped."""
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start = file.tell()
        file.truncate(start + 64 * 64 * 30_000)
        file.seek(start + 64 * 64 * 29_999)
        file.write(b"\x07" * 64 * 64)
    before, total, last = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0, 0
    for _, frames in split_npy(tmp_path / "a.npy", params=PARAMS):
        total += len(frames)
        last = zlib.crc32(frames[-1])
        if len(shape) == 4:
            assert type(frames) is np.ndarray
    assert total == 30_000
    assert last == zlib.crc32(b"\x07" * 64 * 64)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= before + (16 << 10)
