"""Clips that are long enough for rollouts of 64 steps."""

from __future__ import annotations

import numpy as np
import pytest

from vidpred.data.shards import RawClip, Shards, write_shards


@pytest.fixture(scope="session")
def long_clips(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Three clips of 100 frames of 16x16, ten a second: squares on noise that move along, and one that stands still."""
    folder = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(0)
    clips = []
    for number in range(3):
        frames = np.repeat(rng.integers(0, 256, (1, 16, 16, 3), np.uint8), 100, axis=0)
        for i in range(100):
            left = (3 * number + i) % 12 if number < 2 else 0
            frames[i, 4:9, left : left + 5] = 40 * (number + 2)
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
