"""Shards: what is written is read again, whatever the order; what is broken is told."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.errors import UserError


def raw_clips(folder: Path, lengths: list[int]) -> dict[str, tuple[RawClip, np.ndarray]]:
    rng = np.random.default_rng(0)
    out = {}
    for number, length in enumerate(lengths):
        frames = rng.integers(0, 256, (length, 8, 12, 3), dtype=np.uint8)
        sha256 = hashlib.sha256(str(number).encode()).hexdigest()
        path = folder / f"{number}.rgb"
        path.write_bytes(frames.tobytes())
        out[sha256] = (RawClip(f"{number}.gif", sha256, sha256, 0, f"g{number}", "", 10.0, 1.5, path, length), frames)
    return out


def written(folder: Path, clips: list[RawClip]) -> str:
    return write_shards(
        folder, clips, [], height=8, width=12, fps=10, buckets=3, parameters={"fit": "crop"}, ffmpeg="7"
    )


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, dict[str, tuple[RawClip, np.ndarray]]]:
    clips = raw_clips(tmp_path, [6, 9, 1, 30, 7])
    written(tmp_path / "shards", [clip for clip, _ in clips.values()])
    return tmp_path / "shards", clips


def test_frames_come_back(made: tuple[Path, dict[str, tuple[RawClip, np.ndarray]]]) -> None:
    shards = Shards(made[0])
    assert len(shards.clips) == 5
    assert (shards.height, shards.width, shards.fps) == (8, 12, 10)
    for row, clip in enumerate(shards.clips):
        raw, frames = made[1][clip.sha256]
        assert (clip.source, clip.group, clip.length) == (raw.source, raw.group, raw.length)
        np.testing.assert_array_equal(shards.frames(row, 0, clip.length), frames)
        if clip.length >= 9:
            np.testing.assert_array_equal(shards.frames(row, 2, 3, 3), frames[2:9:3])
        with pytest.raises(IndexError):
            shards.frames(row, 1, clip.length)
    shards.verify()


def test_the_order_of_clips_changes_nothing(
    tmp_path: Path, made: tuple[Path, dict[str, tuple[RawClip, np.ndarray]]]
) -> None:
    written(tmp_path / "other", [clip for clip, _ in made[1].values()][::-1])
    names = sorted(path.name for path in made[0].iterdir())
    assert names == sorted(path.name for path in (tmp_path / "other").iterdir())
    for name in names:
        assert (made[0] / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name


def test_data_id_follows_frames_and_index(
    tmp_path: Path, made: tuple[Path, dict[str, tuple[RawClip, np.ndarray]]]
) -> None:
    first = Shards(made[0]).data_id
    clips = [clip for clip, _ in made[1].values()]
    assert written(tmp_path / "fewer", clips[1:]) != first
    data = bytearray(clips[0].frames.read_bytes())
    data[5] ^= 1
    clips[0].frames.write_bytes(bytes(data))
    assert written(tmp_path / "changed", clips) != first


def test_broken_shards_are_told(tmp_path: Path, made: tuple[Path, dict[str, tuple[RawClip, np.ndarray]]]) -> None:
    with pytest.raises(UserError, match="holds no finished shards: run `dvc repro transcode`"):
        Shards(tmp_path / "nowhere")
    shard = next(iter(Shards(made[0]).meta["shards"]))
    cut = shutil.copytree(made[0], tmp_path / "cut")
    (cut / shard).write_bytes((cut / shard).read_bytes()[:-1])
    with pytest.raises(UserError, match="missing or cut short"):
        Shards(cut)
    (cut / shard).unlink()
    with pytest.raises(UserError, match="missing or cut short"):
        Shards(cut)
    flipped = shutil.copytree(made[0], tmp_path / "flipped")
    data = bytearray((flipped / shard).read_bytes())
    data[-1] ^= 1
    (flipped / shard).write_bytes(bytes(data))
    with pytest.raises(UserError, match="has changed since it was written"):
        Shards(flipped).verify()
    meta = json.loads((made[0] / "meta.json").read_text())
    (made[0] / "meta.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(UserError, match="format 99, this vidpred reads"):
        Shards(made[0])
