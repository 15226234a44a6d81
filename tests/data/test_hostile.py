"""Hostile files: no crash, no hang, little memory, a reason for each, and good files beside them stay as they are."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.memory import most_held
from tests.data.odd_files import (
    FFMPEG,
    LOSSLESS,
    canvas,
    copied,
    dot,
    gif_of,
    jpeg,
    plain,
    png,
    read,
    read_all,
    squares,
    written,
)
from vidpred.config import TranscodeParams
from vidpred.data import encode, launch, media
from vidpred.data.clip_cache import Plan, Unit, local_engine, make_frames
from vidpred.data.complaints import MEMORY_GIB
from vidpred.data.gifs import blocks
from vidpred.data.media import BATCH, Job, Look, MediaError
from vidpred.workspace import file_sha256

LOOK = Look(24, 24, max_seconds=10, max_frames=300)
SECONDS = 30
"""A file may take on a crowded machine; ffmpeg gets 20."""
OUR_MIB = 400
"""Memory of a process that decodes, whatever it is given."""
FFMPEG_MIB = 512 * MEMORY_GIB
"""Memory of an ffmpeg that decodes one file: resident, of the address space that it gets."""

IMITATION = (
    "x\n[error] No space left on device\n[info] Input #1, gif, from 'nowhere':\n[info] Stream mapping:\n"
    "[out#0/tee @ 0x55aaae4f8600] [error] Error writing trailer: No space left on device\n[fatal] Invalid data\n"
    "[info]   Stream #0:0: Video: h264, yuv420p, 9999x9999, 1 fps\n"
)


def array_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def zipped(data: bytes, *, packed: bool) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr("a.gif", data)
    return out.getvalue()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good file, from which bad ones are made; its index is at its end."""
    return written(tmp_path_factory.mktemp("video") / "video.mp4", squares(), *LOSSLESS)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small good files of many kinds, each of which may share a process."""
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 8, (5, 9, 24, 24, 1), dtype=np.uint8).repeat(3, -1) * 30
    for number in range(3):
        encode.write_gif(folder / f"g{number}.gif", noise[number], 10)
    encode.write_mp4(folder / "m.mp4", noise[3], 10)
    (folder / "delays.gif").write_bytes(gif_of(range(0, 240, 40), [10, 30, 1, 20, 5, 65]))
    np.save(folder / "a.npy", noise[4])
    (folder / "a.mjpeg").write_bytes(b"".join(jpeg(plain(20 * t), thumbnail=True) for t in range(9)))
    (folder / "a.pngs").write_bytes(b"".join(png(Image.new("RGBA", (64, 48), (9, 9, 9, 20 * t))) for t in range(9)))
    clear = np.concatenate([squares(6), rng.integers(0, 2, (6, 48, 64, 1), dtype=np.uint8) * 255], axis=-1)
    written(folder / "clear.webm", clear, "-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "10", "-b:v", "0")
    written(folder / "v.ts", squares(), *LOSSLESS, "-f", "mpegts")
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, video: Path) -> dict[str, Path]:
    """One of each bad kind; that is small enough to stand in a batch."""
    folder = tmp_path_factory.mktemp("bad")
    whole, index = video.read_bytes(), video.read_bytes().index(b"moov")
    gif = gif_of(range(0, 240, 20), [10] * 12)
    rng = random.Random(1)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.mp4\n#EXT-X-ENDLIST\n"
    (folder / "secret.mp4").write_bytes(whole)
    contents: dict[str, bytes | str] = {
        "playlist.mp4": playlist,
        "playlist.gif": playlist,
        "absolute.gif": playlist.replace("secret.mp4", f"file://{folder}/secret.mp4"),
        "concat.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
        "concat.gif": "ffconcat version 1.0\nfile secret.mp4\n",
        "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 26\n",
        "dash.mp4": '<?xml version="1.0"?><MPD type="static"><Period><BaseURL>secret.mp4</BaseURL></Period></MPD>',
        "script.mp4": "#!/bin/sh\ntouch ran\n",
        "svg.gif": '<svg xmlns="http://www.w3.org/2000/svg"><image href="secret.mp4"/></svg>',
        "empty.gif": b"",
        "empty.mp4": b"",
        "byte.mp4": b"\x00",
        "text.mp4": "hello\n" * 100,
        "text.gif": "hello\n" * 100,
        "page.mp4": "<!DOCTYPE html><html><head><title>404</title></head><body>Not found</body></html>",
        "zip.mp4": zipped(gif, packed=True),
        "zip.gif": zipped(gif, packed=True),
        "zeros.mp4": bytes(10_000),
        "ones.mp4": b"\xff" * 10_000,
        "half index.mp4": whole[: index + 200],
        "no index.mp4": whole[: index - 4],
        "half index first.mp4": _index_first(video)[: len(whole) // 3],
        "start only.mp4": whole[:32],
        "cut.gif": gif[: len(gif) // 2],
        "signature.gif": b"GIF89a",
        "canvas only.gif": canvas(48, 64),
        "no frame.gif": canvas(48, 64) + b";",
        "huge.gif": canvas(15_000, 15_000) + dot() * 6 + b";",
        "largest.gif": canvas(65_535, 65_535) + dot() * 6 + b";",
        "outside.gif": canvas(48, 64) + dot(x=60_000, y=60_000) * 6 + b";",
        "huge.pngs": png(plain(0, mode="L"))[:16] + struct.pack(">II", 100_000, 100_000) + png(plain(0, mode="L"))[24:],
        "nested.npy": array_header("(" * 9000),
        "minus.npy": array_header("-" * 9000),
        "negative.npy": array_header("{'descr': '|u1', 'fortran_order': False, 'shape': (9, -24, -24), }\n")
        + bytes(5184),
        "pickle.npy": array_header("{'descr': '|O', 'fortran_order': False, 'shape': (9, 24, 24), }\n") + bytes(5184),
        "longer.npy": array_header("{'descr': '|u1', 'fortran_order': False, 'shape': (9, 24, 24), }\n") + bytes(5760),
        "cut.mjpeg": jpeg(plain(0)) + jpeg(plain(9))[:200],
        "cut.pngs": png(plain(0)) + png(plain(9))[:90],
    }
    starts = {
        ".mp4": whole[:32],
        ".gif": b"GIF89a",
        ".mkv": b"\x1a\x45\xdf\xa3",
        ".ts": b"\x47",
        ".avi": b"RIFF\0\0\0\0AVI ",
    }
    starts |= {
        ".mjpeg": b"\xff\xd8",
        ".pngs": b"\x89PNG\r\n\x1a\n",
        ".npy": b"\x93NUMPY\x01\x00",
        ".webm": b"\x1a\x45\xdf\xa3",
    }
    contents |= {f"random{suffix}": start + rng.randbytes(20_000) for suffix, start in starts.items()}
    for name, data in contents.items():
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    for suffix in (".mkv", ".mp4"):
        many = [str(FFMPEG), "-v", "error", "-i", str(video), *["-map", "0:v"] * 500, "-c", "copy"]
        subprocess.run([*many, "-y", f"file:{folder / 'streams'}{suffix}"], check=True)
    (folder / "folder.mp4").mkdir()
    return {path.name: path for path in sorted(folder.iterdir()) if path.name != "secret.mp4"} | {
        "missing.gif": folder / "missing.gif"
    }


def _index_first(video: Path) -> bytes:
    return copied(video, video.with_name("first.mp4"), "-movflags", "+faststart").read_bytes()


def summed(result: tuple[np.ndarray, media.Decoded] | MediaError) -> dict[str, Any]:
    """All that can be told of a result, its frames by their hash."""
    if isinstance(result, MediaError):
        return {"failed": str(result)}
    frames, decoded = result
    return {
        "frames": hashlib.sha256(frames.tobytes()).hexdigest(),
        "count": len(frames),
        "times": decoded.times.tolist(),
        "end": decoded.end_seconds,
        "facts": decoded.facts,
        "bars": decoded.bars,
    }


def surveyed(paths: Sequence[str], look: Look, timeout_seconds: float) -> tuple[list[dict[str, Any]], float, float]:
    """What each file gives, alone, with the seconds it took; MiB of this process, and of the largest it has started."""
    out = []
    for path in paths:
        began = time.monotonic()
        (result,) = read_all([Path(path)], look, timeout_seconds=timeout_seconds)
        out.append(summed(result) | {"seconds": time.monotonic() - began})
    return out, most_held() / 2**20, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def survey(paths: Sequence[Path], look: Look = LOOK, timeout_seconds: float = 20) -> list[dict[str, Any]]:
    """`surveyed` in a process of its own, so that memory is only that of this work; checks time and memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        results, own, children = pool.submit(surveyed, [str(path) for path in paths], look, timeout_seconds).result()
    assert own < OUR_MIB
    assert children < FFMPEG_MIB
    for path, result in zip(paths, results, strict=True):
        assert result["seconds"] < SECONDS, path.name
    return results


def reasons_are_short(results: Sequence[dict[str, Any]], folder: Path) -> None:
    for result in results:
        if "failed" in result:
            assert 5 < len(result["failed"]) < 200
            assert result["failed"].isprintable()  # so one line, too
            assert str(folder) not in result["failed"]


def test_each_bad_kind_has_its_reason(bad: dict[str, Path]) -> None:
    results = dict(zip(bad, survey(list(bad.values())), strict=True))
    reasons_are_short(list(results.values()), next(iter(bad.values())).parent)
    failed = {name: result.get("failed") for name, result in results.items()}
    assert None not in failed.values(), [name for name, reason in failed.items() if reason is None]
    expected = {
        "empty.gif": "empty file",
        "playlist.gif": "not a GIF or video",
        "concat.mp4": "not a GIF or video",
        "concat.gif": "not a GIF or video",
        "text.gif": "not a GIF or video",
        "page.mp4": "damaged: moov atom not found",
        "no index.mp4": "damaged: moov atom not found",
        "huge.gif": "more than 40000000 pixels a frame",
        "huge.pngs": "more than 40000000 pixels a frame",
        "no frame.gif": "no frames in it",
        "cut.gif": "damaged: cut short",
        "streams.mkv": "too many streams",
        "streams.mp4": "too many streams",
        "folder.mp4": "not a file",
        "missing.gif": "no such file",
    }
    assert {name: failed[name] for name in expected} == expected
    assert failed["nested.npy"].startswith("not a NumPy video: ")
    assert not (next(iter(bad.values())).parent / "ran").exists()


def test_a_file_that_names_another_never_opens_it(tmp_path: Path, video: Path) -> None:
    """The other is a pipe that nobody writes: whoever opened it would wait for ever."""
    os.mkfifo(tmp_path / "secret.mp4")
    os.mkfifo(tmp_path / "secret.ts")
    texts = {
        "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
        "master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{}\n",
        "key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{}"\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n',
        "concat": "ffconcat version 1.0\nfile '{}'\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1"><BaseURL>{}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>",
    }
    names = ("secret.mp4", f"{tmp_path}/secret.mp4", f"file://{tmp_path}/secret.ts")
    paths = []
    for kind, text in texts.items():
        for number, name in enumerate(names):
            for suffix in (".gif", ".mp4"):
                path = tmp_path / f"{kind}{number}{suffix}"
                path.write_text(text.replace("{}", name))
                paths.append(path)
    began = time.monotonic()
    for start in range(0, len(paths), BATCH):
        for result in read_all(paths[start : start + BATCH], LOOK, timeout_seconds=20):
            assert isinstance(result, MediaError)
            assert "timed out" not in str(result)
    assert time.monotonic() - began < 5 * SECONDS
    # without our whitelist the same file is followed
    (tmp_path / "secret.mp4").unlink()
    shutil.copy(video, tmp_path / "secret.mp4")
    followed = [str(FFMPEG), "-v", "error", "-i", str(tmp_path / "concat0.gif"), "-f", "null", "-"]
    assert subprocess.run(followed, check=False, timeout=60).returncode == 0
    with pytest.raises(MediaError, match="not a GIF or video"):
        read(tmp_path / "concat0.gif", LOOK)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gif")
    (tmp_path / "loop.gif").symlink_to(tmp_path / "loop.gif")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.gif"))
        paths = [tmp_path / name for name in ("pipe.gif", "loop.gif", "socket.gif")] + [Path("/dev/zero")]
        for result in read_all(paths, LOOK):
            assert isinstance(result, MediaError)
            assert str(result) in ("not a file", "no such file") or str(result).startswith("cannot be read: ")


@pytest.mark.slow
def test_a_million_frames_stop_at_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "million.gif"
    path.write_bytes(canvas(1, 1) + dot(delay=2) * 1_000_000 + b";")
    assert not media.is_tiny(path)
    by_seconds, by_frames, by_both = (
        survey([path], look)[0] for look in (Look(24, 24), Look(24, 24, max_seconds=1e6), LOOK)
    )
    assert (by_seconds["count"], by_seconds["end"]) == (3000, 60)
    assert by_frames["count"] == 20_000
    assert by_both["count"] == 300


@pytest.mark.slow
def test_pictures_just_within_the_limit_take_no_more_memory_than_they_may(tmp_path: Path) -> None:
    files = {
        "square.gif": canvas(6300, 6300) + dot() * 20 + b";",
        "wide.gif": canvas(600, 65_535) + dot() * 20 + b";",
        "thin.gif": canvas(1, 65_535) + dot() * 20 + b";",
        "zeros.pngs": png(plain(0, (6300, 6300), "L")) * 12,
        "deep.pngs": png(Image.new("I;16", (6300, 6300))) * 3,
        "zeros.mjpeg": jpeg(plain(0, (6300, 6300), "L")) * 12,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    large = ("-vf", "scale=7680:4320,loop=20:1", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    written(tmp_path / "zeros.mp4", np.zeros((1, 48, 64, 3), np.uint8), *large)
    paths = sorted(tmp_path.iterdir())
    results = survey(paths)
    reasons_are_short(results, tmp_path)
    assert all(result.get("count") or "timed out" in result["failed"] for result in results)
    survey(paths, Look(24, 24, fit="pad", crop_bars=True, max_frames=5))


@pytest.mark.slow
def test_files_made_to_keep_us_busy_are_given_up(tmp_path: Path) -> None:
    files = {
        "images.mjpeg": b"\xff\xd8\xff\xd9" * 500_000,
        "outside.gif": canvas(8, 8) + dot(delay=2, x=500) * 300_000 + b";",
        "comment.gif": canvas(8, 8) + b"\x21\xfe" + b"\x01x" * 30_000_000 + b"\x00" + dot() * 6 + b";",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    images, outside, _ = survey([tmp_path / name for name in files], Look(24, 24, max_seconds=1e6, max_frames=10**6))
    assert images["failed"] == outside["failed"] == "damaged: ffmpeg has more than 16 MiB to say about it"
    began = time.monotonic()
    assert not blocks(tmp_path / "comment.gif").cut_short
    assert time.monotonic() - began < SECONDS


# what a file says of itself


@pytest.fixture(scope="module")
def imitations(tmp_path_factory: pytest.TempPathFactory, video: Path) -> dict[str, Path]:
    """Good files whose titles read like ffmpeg's own lines; all show the same frames."""
    folder = tmp_path_factory.mktemp("imitations")
    told = [f"{key}={IMITATION}" for key in ("title", "comment", "artist")]
    metadata = [part for text in told for part in ("-metadata", text)]
    copied(video, folder / "title.mp4", *metadata)
    copied(video, folder / "title.mkv", *metadata, "-metadata", f"{IMITATION}={IMITATION}")
    copied(
        video,
        folder / "stream.mkv",
        "-metadata:s:v",
        f"title={IMITATION}",
        "-metadata:s:v",
        f"handler_name={IMITATION}",
    )
    for suffix in (".mp4", ".flv"):  # these keep the names of tags as they are, and outputs would repeat them
        key = ("-metadata", f"{IMITATION}=x")
        copied(video, folder / f"key{suffix}", *key, *(("-movflags", "use_metadata_tags") if suffix == ".mp4" else ()))
    service = ("-metadata", f"service_name={IMITATION[:200]}", "-metadata", f"service_provider={IMITATION[:40]}")
    copied(video, folder / "service.ts", "-f", "mpegts", *service)
    escaped = IMITATION.replace("#", "\\#").replace("\n", "\\\n")
    chapter = f";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle={escaped}\n"
    (folder / "chapters.txt").write_text(chapter)
    inputs = [str(FFMPEG), "-v", "error", "-i", str(video), "-i", str(folder / "chapters.txt")]
    subprocess.run([*inputs, "-map_metadata", "1", "-c", "copy", "-y", str(folder / "chapter.mp4")], check=True)
    (folder / "chapters.txt").unlink()
    return {path.name: path for path in sorted(folder.iterdir())}


def test_titles_that_read_like_complaints_are_none(imitations: dict[str, Path], video: Path) -> None:
    """Above all not the complaint that the disk is full, which ends the whole work."""
    expected = summed(read(video, LOOK))
    assert len(imitations) == 7
    for together in (False, True):
        paths = list(imitations.values())
        results = read_all(paths, LOOK) if together else [read(path, LOOK) for path in paths]
        for name, result in zip(imitations, results, strict=True):
            told = summed(result)
            assert told["frames"] == expected["frames"], name
            if not name.startswith("key"):  # a tag's name is repeated as it is: what is told of the file may be its own
                assert told["facts"].height == 48, name
                assert (told["facts"].fps, told["facts"].codec) == (10, "h264"), name


def test_a_language_that_reads_like_complaints_harms_only_what_is_told_of_the_file(
    tmp_path: Path, video: Path, good: dict[str, Path]
) -> None:
    """It is repeated as it is, lines and all: so what is told of this file may be its own invention."""
    expected = summed(read(video, LOOK))["frames"]
    beside = {name: summed(read(path, LOOK)) for name, path in good.items()}
    for number, text in enumerate(
        (IMITATION, "x\n[info] Stream mapping:\n", "x): Video: gif, bgra, 9x9, 1 fps\n[info] ")
    ):
        path = copied(video, tmp_path / f"language{number}.mkv", "-metadata:s:v", f"language={text}")
        (alone,) = read_all([path], LOOK)
        assert summed(alone).get("frames", expected) == expected
        *results, together = read_all([*good.values(), path], LOOK)
        assert summed(together) == summed(alone)
        assert {name: summed(result) for name, result in zip(good, results, strict=True)} == beside
        together, *results = read_all([path, *good.values()], LOOK)
        assert summed(together) == summed(alone)
        assert {name: summed(result) for name, result in zip(good, results, strict=True)} == beside


def test_a_gifs_comment_is_not_taken_for_ffmpegs(tmp_path: Path) -> None:
    gif = gif_of(range(0, 240, 20), [10] * 12)
    at = 13 + (3 << (gif[10] & 7) + 1)
    comment = IMITATION.encode()[:255]
    (tmp_path / "plain.gif").write_bytes(gif)
    (tmp_path / "comment.gif").write_bytes(
        gif[:at] + b"\x21\xfe" + bytes([len(comment)]) + comment + b"\x00" + gif[at:]
    )
    assert summed(read(tmp_path / "comment.gif", LOOK)) == summed(read(tmp_path / "plain.gif", LOOK))


NAMES = (
    "two\nlines.gif",
    "[error] No space left on device\n[error] No space left on device\n[info] Input #1, gif, from x\n.gif",
    "quotes'\".gif",
    "a|b.gif",
    "[0:V].gif",
    "[f=rawvideo]x.gif",
    "%d %03d.gif",
    "-y.gif",
    "cat 😺.gif",
    "back\\slash.gif",
    "semi;colon,comma=.gif",
    "concat:a.gif|b.gif",
    " .gif",
    "PATH.gif",
    "NUMBER.gif",
    "pipe:0.gif",
    "umlaut-\udcfc.gif",  # a byte that is no UTF-8
)


def test_any_name_will_do(tmp_path: Path) -> None:
    gif = gif_of(range(0, 240, 20), [10] * 12)
    (tmp_path / "expected.gif").write_bytes(gif)
    expected = summed(read(tmp_path / "expected.gif", LOOK))
    folder = tmp_path / "a [folder]\n%d"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(gif)
    paths = [folder / name for name in NAMES]
    for results in ([read(path, LOOK) for path in paths], read_all(paths, LOOK)):
        assert [summed(result) for result in results] == [expected] * len(NAMES)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)  # nothing was written beside them
    for name in NAMES:
        (folder / name).write_bytes(b"hello")
    for path in paths:
        (result,) = read_all([path], LOOK)
        assert str(result) == "not a GIF or video" or str(result).startswith("damaged: ")
        assert str(result).isprintable()


# batches


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_good_files_are_the_same_whatever_stands_beside_them(
    good: dict[str, Path], bad: dict[str, Path], step: int
) -> None:
    alone = {name: summed(read(path, LOOK)) for name, path in good.items()}
    assert {told["count"] for told in alone.values()} == {9, 6, 12}
    paths = list(good.values())
    for name, result in zip(good, read_all(paths, LOOK), strict=True):
        assert summed(result) == alone[name], name
    names = list(good)
    for number, (kind, path) in enumerate(list(bad.items())[::step]):
        four = [names[(number + more) % len(names)] for more in range(4)]
        before, after = [good[name] for name in four[:2]], [good[name] for name in four[2:]]
        results = read_all([*before, path, *after], LOOK)
        assert isinstance(results.pop(2), MediaError), kind
        assert [summed(result) for result in results] == [alone[name] for name in four], kind


OTHER_LOOK = Look(20, 28, fit="pad", background="#204060", crop_bars=True, max_seconds=0.6)


@pytest.mark.parametrize("look", [LOOK, pytest.param(OTHER_LOOK, marks=pytest.mark.slow)], ids=["usual", "other"])
def test_bars_parts_and_backgrounds_do_not_depend_on_batches(
    good: dict[str, Path], bad: dict[str, Path], look: Look
) -> None:
    parts = [Job(path, start, end) for path in good.values() for start, end in ((None, None), (0.2, 0.7))]
    alone = [summed(result) for job in parts for result in read_all([job], look)]
    for spoilt in (None, bad["cut.pngs"], bad["random.mkv"]):
        jobs = [*parts, *([Job(spoilt)] if spoilt else [])]
        assert [summed(result) for result in read_all(jobs, look)][: len(parts)] == alone


def flipped(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        at = rng.randrange(len(out)) if rng.random() < 0.7 else rng.randrange(min(200, len(out)))
        out[at] ^= 1 << rng.randrange(8)
    return bytes(out)


def flips(folder: Path, count: int) -> list[Path]:
    """Files with some bits flipped, half of them GIFs."""
    rng = random.Random(5)
    grey = np.random.default_rng(5).integers(0, 8, (10, 24, 24, 1), dtype=np.uint8).repeat(3, -1) * 30
    encode.write_gif(folder / "whole.gif", grey, 10)
    encode.write_mp4(folder / "whole.mp4", squares(), 10)
    paths = []
    for number in range(count):
        suffix = (".gif", ".mp4")[number % 2]
        path = folder / f"flip{number:03d}{suffix}"
        path.write_bytes(flipped((folder / f"whole{suffix}").read_bytes(), rng))
        paths.append(path)
    return paths


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_flipped_bits(tmp_path: Path, good: dict[str, Path], count: int) -> None:
    """Alone, and mixed among good files in batches of any make-up, each gives the same."""
    paths = flips(tmp_path, count)
    results = survey(paths)
    reasons_are_short(results, tmp_path)
    told = [{key: value for key, value in result.items() if key != "seconds"} for result in results]
    failed = sum("failed" in result for result in told)
    assert count * 0.2 < failed < count * 0.95
    assert all("timed out" not in result.get("failed", "") for result in told)
    alone = dict(zip(paths, told, strict=True)) | {path: summed(read(path, LOOK)) for path in good.values()}
    order = [*paths, *good.values()]
    rng = random.Random(6)
    rng.shuffle(order)
    while order:
        size = rng.randint(2, BATCH)
        batch, order = order[:size], order[size:]
        for path, result in zip(batch, read_all(batch, LOOK), strict=True):
            assert summed(result) == alone[path], path.name


def notes_of(
    units: Sequence[Unit], files: Path, store: Path, plan: Plan, batches: Sequence[Sequence[Unit]]
) -> dict[str, Any]:
    """Notes, and hashes of the frames that lie beside them, by key."""
    notes: dict[str, Any] = {}
    for done in local_engine(2)(batches, files, store, plan):
        notes |= done
    assert set(notes) == {unit.key for unit in units}
    assert not [path for path in store.iterdir() if path.name.startswith(".")]
    for key, note in notes.items():
        assert json.loads((store / f"{key}.json").read_text()) == note
        frames = store / f"{key}.rgb"
        note["sha256"] = file_sha256(frames) if frames.exists() else None
    return notes


@pytest.mark.parametrize("rounds", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_notes_do_not_depend_on_subsets_and_orders(
    tmp_path: Path, good: dict[str, Path], bad: dict[str, Path], imitations: dict[str, Path], rounds: int
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    units = []
    for path in [*good.values(), *imitations.values(), *bad.values(), *flips(tmp_path, 4 * rounds)]:
        if not path.is_file():
            continue
        key = hashlib.sha256(path.name.encode()).hexdigest()
        shutil.copy(path, files / f"{key}{path.suffix}")
        units.append(Unit(key, f"{key}{path.suffix}", None, None))
    plan = Plan.of(TranscodeParams(height=24, width=24, max_seconds=10, max_frames=300), launch.ffmpeg_version())
    alone = notes_of(units, files, tmp_path / "alone", plan, [[unit] for unit in units])
    assert sum("failed" in note for note in alone.values()) > 40
    assert sum("failed" not in note for note in alone.values()) >= 15
    rng = random.Random(9)
    for number in range(rounds):
        some = rng.sample(units, rng.randint(len(units) // 2, len(units)))
        batches, rest = [], some
        while rest:
            size = rng.randint(1, BATCH)
            batches.append(rest[:size])
            rest = rest[size:]
        found = notes_of(some, files, tmp_path / f"round{number}", plan, batches)
        assert found == {unit.key: alone[unit.key] for unit in some}


OTHER_SIGNALS = (signal.SIGTERM, signal.SIGKILL)


@pytest.mark.parametrize("ended_by", [signal.SIGINT, *(pytest.param(s, marks=pytest.mark.slow) for s in OTHER_SIGNALS)])
def test_an_ffmpeg_that_was_ended_has_found_no_fault_in_its_file(tmp_path: Path, ended_by: signal.Signals) -> None:
    """By Ctrl-C in a terminal, by a job scheduler, by the kernel for want of memory: the file is tried again."""
    (tmp_path / "slow.gif").write_bytes(canvas(6300, 6300) + dot() * 5000 + b";")
    key = hashlib.sha256(b"slow").hexdigest()
    plan = Plan.of(TranscodeParams(height=24, width=24, timeout_seconds=60), launch.ffmpeg_version())
    units, store = [Unit(key, "slow.gif", None, None)], tmp_path / "store"
    with ThreadPoolExecutor(1) as pool:
        notes = pool.submit(make_frames, units, tmp_path, store, plan, binary=FFMPEG)
        running: list[psutil.Process] = []
        while not (running and list(store.rglob("0.rgb"))):
            assert not notes.done(), notes.result()
            running = [child for child in psutil.Process().children() if child.name().startswith("ffmpeg")]
            time.sleep(0.02)
        assert os.getpgid(running[0].pid) != os.getpgid(0)  # what is typed here does not reach it
        running[0].send_signal(ended_by)
        note = notes.result(timeout=60)[key]
    assert note["failed"].startswith("killed: ")
    assert not list(store.iterdir())


@pytest.mark.slow
def test_a_file_that_takes_too_long_does_not_take_the_others_with_it(tmp_path: Path, good: dict[str, Path]) -> None:
    """Small enough to share a process, and far more work than the time allows."""
    path = tmp_path / "slow.mp4"
    path.write_bytes(canvas(6300, 6300) + dot() * 5000 + b";")
    assert media.is_tiny(path)
    alone = {name: summed(read(path, LOOK)) for name, path in good.items()}
    began = time.monotonic()
    *results, slow = read_all([*good.values(), path], LOOK, timeout_seconds=3)
    assert str(slow) == "timed out after 3 s"
    assert {name: summed(result) for name, result in zip(good, results, strict=True)} == alone
    assert time.monotonic() - began < 2 * SECONDS
