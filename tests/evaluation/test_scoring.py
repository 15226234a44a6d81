"""Tables of scores: which windows are one block, and what stands in a row."""

from __future__ import annotations

import numpy as np
import pytest

from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.evaluation.scoring import blocks_of
from vidpred.types import Window


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Two clips of 100 frames of 16x16, ten frames a second."""
    folder = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(0)
    clips = []
    for number in range(2):
        frames = rng.integers(0, 256, (100, 16, 16, 3), np.uint8)
        path = folder / f"{number}.rgb"
        path.write_bytes(frames.tobytes())
        sha256 = f"{number:x}".ljust(64, "f")
        clips.append(
            RawClip(
                source=f"{number}.gif",
                sha256=sha256,
                key=sha256,
                number=0,
                group=f"g{number}",
                label="",
                fps=10.0,
                motion=1.0,
                frames=path,
                length=len(frames),
            )
        )
    write_shards(folder / "shards", clips, [], height=16, width=16, fps=10.0, buckets=1, parameters={}, ffmpeg="x")
    return Shards(folder / "shards")


def blocks(shards: Shards, starts: list[int]) -> list[int]:
    """Numbers of the blocks of windows of ten frames."""
    names = blocks_of(shards, [Window(0, start) for start in starts], frames=10)
    return [int(name.rpartition("@")[2]) for name in names]


def test_blocks_are_of_two_seconds_from_the_first_window_on(long_clips: Shards) -> None:
    assert blocks(long_clips, [0, 10, 20, 30, 40, 50]) == [0, 0, 1, 1, 2, 2]
    assert blocks(long_clips, [37, 47, 57, 67]) == [0, 0, 1, 1]


def test_what_is_left_over_belongs_to_the_block_before(long_clips: Shards) -> None:
    assert blocks(long_clips, [15, 25]) == [0, 0]  # two seconds, wherever in the clip they lie
    assert blocks(long_clips, [15, 25, 35]) == [0, 0, 0]
    assert blocks(long_clips, [0, 10, 20, 30, 40]) == [0, 0, 1, 1, 1]
    assert blocks(long_clips, [90]) == [0]


def test_blocks_of_two_clips_have_two_names(long_clips: Shards) -> None:
    one, other = blocks_of(long_clips, [Window(0, 0), Window(1, 0)], frames=10)
    assert one != other
