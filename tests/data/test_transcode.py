"""Files to shards: the same bytes for any number of workers, everything counted, nothing made twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from vidpred.config import FetchParams, TranscodeParams
from vidpred.data import encode, launch
from vidpred.data.clip_cache import local_engine, motion_of
from vidpred.data.fetch import fetch
from vidpred.data.shards import Shards
from vidpred.data.transcode import transcode
from vidpred.errors import UserError

PARAMS = TranscodeParams(height=24, width=24, buckets=3)


def movie(seed: int, frames: int) -> np.ndarray:
    grey = np.random.default_rng(seed).integers(0, 8, (frames, 24, 24, 1), dtype=np.uint8) * 30
    return grey.repeat(3, axis=-1)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Good, short, doubled, cut and false files."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for seed in range(6):
        encode.write_gif(folder / f"good{seed}.gif", movie(seed, 7 + seed), 10)
    encode.write_mp4(folder / "good6.mp4", movie(6, 20), 20)
    encode.write_gif(folder / "short.gif", movie(7, 3), 10)
    shutil.copy(folder / "good0.gif", folder / "twin.gif")
    (folder / "cut.gif").write_bytes((folder / "good5.gif").read_bytes()[:1500])
    (folder / "text.gif").write_text("hello")
    (folder / "notes.doc").write_text("hello")
    return folder


def made(
    clips: Path, tmp_path: Path, name: str, *, workers: int = 2, params: TranscodeParams = PARAMS
) -> dict[str, Any]:
    fetch(FetchParams(source=str(clips)), tmp_path / "raw", tmp_path / "downloads", workers=2)
    done = transcode(
        tmp_path / "raw",
        tmp_path / name,
        tmp_path / f"cache-{name}",
        params,
        version=launch.ffmpeg_version(),
        engine=local_engine(workers),
        workers=workers,
    )
    return done.summary


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_everything_is_kept_dropped_or_failed(clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    summary = made(clips, tmp_path, "shards")
    assert (summary["inputs"], summary["kept"], summary["dropped"], summary["failed"]) == (12, 7, 2, 3)
    assert summary["reasons"] == {
        "damaged": 1,
        "duplicate": 1,
        "no GIF or video by its name": 1,
        "not a GIF or video": 1,
        "too short": 1,
    }
    rows = {row["name"]: row for row in pq.read_table(tmp_path / "shards" / "sources.parquet").to_pylist()}
    assert len(rows) == 12
    assert (rows["twin.gif"]["status"], rows["twin.gif"]["reason"]) == ("dropped", "duplicate: same bytes as good0.gif")
    assert (rows["text.gif"]["status"], rows["cut.gif"]["status"]) == ("failed", "failed")
    assert "set aside text.gif: not a GIF or video" in caplog.text
    shards = Shards(tmp_path / "shards")
    assert summary["clips"] == len(shards.clips) == 7
    assert summary["frames"] == sum(clip.length for clip in shards.clips) == shards.meta["frames"]
    for row, clip in enumerate(shards.clips):
        if clip.source.endswith(".gif"):
            expected = movie(int(clip.source[4]), clip.length)
            np.testing.assert_array_equal(shards.frames(row, 0, clip.length), expected)
            assert clip.motion == pytest.approx(np.abs(np.diff(expected.astype(int), axis=0)).mean(), abs=1e-5)
        else:
            assert (clip.length, clip.fps) == (10, 10.0)


def test_workers_and_history_change_no_byte(clips: Path, tmp_path: Path) -> None:
    made(clips, tmp_path, "one", workers=1)
    made(clips, tmp_path, "four", workers=4)
    assert contents(tmp_path / "one") == contents(tmp_path / "four")
    hidden = tmp_path / "later"
    hidden.mkdir()
    for name in ("good2.gif", "good4.gif"):
        shutil.move(clips / name, hidden / name)
    made(clips, tmp_path, "grown")
    for path in hidden.iterdir():
        shutil.move(path, clips / path.name)
    made(clips, tmp_path, "grown")
    assert contents(tmp_path / "one") == contents(tmp_path / "grown")


def test_frames_are_made_once(clips: Path, tmp_path: Path) -> None:
    made(clips, tmp_path, "shards")
    first = contents(tmp_path / "shards")
    store = next(path for path in (tmp_path / "cache-shards").iterdir() if path.is_dir())
    times = {path.name: path.stat().st_mtime_ns for path in store.glob("*.rgb")}
    assert len(times) == 8  # seven kept and the short one
    half = sorted(store.glob("*.rgb"))[0]
    half.write_bytes(half.read_bytes()[:100])  # as if cut by a full disk
    made(clips, tmp_path, "shards")
    assert contents(tmp_path / "shards") == first
    again = {path.name: path.stat().st_mtime_ns for path in store.glob("*.rgb")}
    assert {name for name in times if times[name] != again[name]} == {half.name}
    assert not list(store.glob("*.part"))


def test_other_parameters_give_other_data(clips: Path, tmp_path: Path) -> None:
    made(clips, tmp_path, "a")
    made(clips, tmp_path, "b", params=PARAMS.model_copy(update={"fit": "stretch", "fps": 5}))
    assert Shards(tmp_path / "a").data_id != Shards(tmp_path / "b").data_id


def test_the_source_keeps_its_rate_where_none_is_asked(clips: Path, tmp_path: Path) -> None:
    made(clips, tmp_path, "shards", params=PARAMS.model_copy(update={"fps": None}))
    shards = Shards(tmp_path / "shards")
    rates = {clip.source: (clip.fps, clip.length) for clip in shards.clips}
    assert rates["good6.mp4"] == (20.0, 20)
    assert rates["good3.gif"] == (10.0, 10)
    assert shards.fps == 10.0


def test_nothing_left_is_told(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    encode.write_gif(tmp_path / "clips" / "a.gif", movie(0, 3), 10)
    with pytest.raises(UserError, match=r"none of 1 inputs gave a clip of 6 frames \(1 too short\)"):
        made(tmp_path / "clips", tmp_path, "shards")
    assert not (tmp_path / "shards").exists()
    with pytest.raises(UserError, match="run `dvc repro fetch`"):
        transcode(tmp_path, tmp_path / "o", tmp_path / "c", PARAMS, version="v", engine=local_engine(1), workers=1)


def test_motion_is_the_mean_difference_of_neighbours() -> None:
    frames = np.zeros((3, 2, 2, 3), np.uint8)
    frames[1] = 10
    assert motion_of(frames, np.arange(3)) == 10
    assert motion_of(frames, np.array([0])) == 0


def test_real_clips(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    for path in [*sorted((shared_data / "gifs").glob("v_[ABC]*.gif")), *sorted((shared_data / "odd").iterdir())]:
        shutil.copy(path, folder / path.name)
    summary = made(folder, tmp_path, "shards", params=TranscodeParams(max_seconds=3, max_freeze_seconds=None))
    reasons = {row["name"]: row["reason"] for row in pq.read_table(tmp_path / "shards" / "sources.parquet").to_pylist()}
    assert reasons["corrupted.mp4"].startswith("damaged: Invalid NAL unit size")
    assert reasons["rotated_90.mov"] == "too short: 1 frame at 10 fps, 6 needed (transcode.min_frames)"
    assert summary["kept"] == len(Shards(tmp_path / "shards").clips) == 6
    assert json.loads((tmp_path / "shards" / "meta.json").read_text())["clips"] == 6
