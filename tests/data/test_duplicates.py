"""Near-duplicates: copies are found whatever was done to them, what is merely alike is not."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Sequence
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from tests.data.planted import CHANGES, Made, digits, gif_frames, rows_of, scene, shards_of, takes
from vidpred.data.duplicates import group_names, hashed, near_duplicates
from vidpred.data.hamming import Neighbours
from vidpred.data.shards import Shards

BITS = 8


def found(shards: Shards, *, bits: int = BITS, workers: int = 2, every: bool = True) -> set[frozenset[str]]:
    """Names of the sources of each pair."""
    clips = shards.clips
    pairs = near_duplicates(
        shards, range(len(clips)), apart=[clip.group for clip in clips], bits=bits, every=every, workers=workers
    )
    return {frozenset((clips[a].source, clips[b].source)) for a, b in pairs}


def groups_left(shards: Shards) -> int:
    groups = [clip.group for clip in shards.clips]
    pairs = near_duplicates(shards, range(len(groups)), apart=groups, bits=BITS, workers=2)
    return len(set(group_names(groups, pairs)))


@pytest.mark.parametrize("bits", [0, 3, 8, 12])
def test_neighbours_are_those_of_comparing_each_with_each(bits: int) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 400, dtype=np.uint64)
    flips = np.bitwise_or.reduce(np.uint64(1) << rng.integers(0, 64, (300, 9), dtype=np.uint64), axis=1)
    queries = np.concatenate([hashes[:300] ^ flips, hashes[:20]])
    distance = np.bitwise_count(queries[:, None] ^ hashes)
    got = [
        pair
        for block in Neighbours(hashes, bits).of(queries)
        for pair in zip(*map(np.ndarray.tolist, block), strict=True)
    ]
    expected = [(int(q), int(h), int(distance[q, h])) for q, h in np.argwhere(distance <= bits)]
    assert sorted(got) == expected  # each once
    assert expected


def test_the_hashes_are_imagehash_s() -> None:
    frames = scene(5, frames=6)
    whole = hashed(frames).whole
    for frame, value in zip(frames, whole, strict=True):
        assert str(imagehash.phash(Image.fromarray(frame))) == value.tobytes().hex()


@pytest.mark.parametrize("size", [64, 96])
def test_a_copy_is_found_whatever_was_done_to_it(tmp_path: Path, size: int) -> None:
    originals = [Made(f"{n}", scene(n)) for n in range(6)] + [Made(c.name, c.frames) for c in digits(4, 1)]
    copies = [
        Made(f"{clip.name} {change}", CHANGES[change](clip.frames))
        for clip, change in zip(itertools.cycle(originals), CHANGES, strict=False)
    ] + [Made(f"{clip.name} {change}", CHANGES[change](clip.frames)) for change in CHANGES for clip in originals[5:7]]
    copies = list({copy.name: copy for copy in copies}.values())
    shards = shards_of(tmp_path, originals + copies, size=size)
    groups = [clip.group for clip in shards.clips]
    pairs = near_duplicates(shards, range(len(groups)), apart=groups, bits=BITS, workers=2)
    joined = dict(zip((clip.source for clip in shards.clips), group_names(groups, pairs), strict=True))
    names = {clip.name for clip in originals}
    lost = [
        copy.name
        for copy in copies
        if joined[copy.name] != joined[next(n for n in names if copy.name.startswith(f"{n} "))]
    ]
    assert lost == []
    assert len(set(joined.values())) == len(originals)


def test_unlike_clips_and_other_takes_of_a_scene_stay_apart(tmp_path: Path) -> None:
    unlike = [Made(f"scene {n}", scene(n)) for n in range(20)]
    same_room = [Made(f"take {n}", frames) for n, frames in zip(range(12), takes(1), strict=False)]
    noise = np.random.default_rng(0).normal(0, 1.5, (2, 24, 64, 64, 3))
    black = [Made(f"black {n}", np.clip(3 + values, 0, 255).astype(np.uint8)) for n, values in enumerate(noise)]
    assert found(shards_of(tmp_path, unlike + same_room + black)) == set()


def test_a_clip_that_stands_still_is_found_by_its_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 1.5, (2, 20, 160, 160, 3))
    still, copy = (np.clip(scene(1, frames=1) + values, 0, 255).astype(np.uint8) for values in noise)
    other = np.clip(scene(2, frames=1) + noise[0], 0, 255).astype(np.uint8)
    moving = scene(1, frames=20)
    shards = shards_of(tmp_path, [Made("a", still), Made("b", copy), Made("c", other), Made("d", moving)])
    assert found(shards) == {frozenset("ab")}


def test_bundled_digits_stay_apart_and_copies_are_found(tmp_path: Path) -> None:
    clips = digits(24, 2)
    assert groups_left(shards_of(tmp_path / "alone", clips)) == 24
    copies = [Made(f"{clip.name} copy", CHANGES["all of it"](clip.frames)) for clip in clips[:8:2]]
    shards = shards_of(tmp_path / "copied", clips + copies)
    assert found(shards) == {frozenset((clip.name, f"{clip.name} copy")) for clip in clips[:8:2]}


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 96])
def test_all_bundled_digits_stay_apart(tmp_path: Path, size: int) -> None:
    assert groups_left(shards_of(tmp_path, digits(140, 3, size=size), size=size)) >= 138


@pytest.mark.parametrize("size", [64, 96])
def test_real_gifs_stay_apart_and_copies_are_found(tmp_path: Path, shared_data: Path, size: int) -> None:
    clips = [Made(p.stem, gif_frames(p)) for p in sorted((shared_data / "gifs").glob("v_*.gif"))]
    assert len(clips) == 34
    changes = list(CHANGES)[:-1]  # the last is much for clips of 6 frames, of which 4 may be frozen
    copies = [
        Made(f"{clip.name} copy", CHANGES[change](clip.frames))
        for clip, change in zip(clips, itertools.cycle(changes), strict=False)
    ]
    assert found(shards_of(tmp_path / "alone", clips, size=size)) == set()
    got = found(shards_of(tmp_path / "copied", clips + copies, size=size))
    assert got <= {frozenset((clip.name, f"{clip.name} copy")) for clip in clips}
    assert len(got) >= 33


def test_an_mp4_of_poor_quality_at_another_rate_is_found(tmp_path: Path) -> None:
    from vidpred.data.launch import any_ffmpeg

    originals = [Made(f"{n}", scene(n)) for n in range(4)] + digits(2, 1)
    clips = list(originals)
    for number, clip in enumerate(originals):
        read = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{clip.frames.shape[2]}x{clip.frames.shape[1]}",
            "-r",
            "10",
        ]
        made, side = tmp_path / f"{number}.mp4", 64
        run(
            [*read, "-i", "-", "-c:v", "libx264", "-crf", "35", "-pix_fmt", "yuv420p", str(made)],
            any_ffmpeg(),
            clip.frames,
        )
        show = ["-i", str(made), "-vf", f"fps=25,scale={side}:{side}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        frames = np.frombuffer(run(show, any_ffmpeg()), np.uint8).reshape(-1, side, side, 3)
        clips.append(Made(f"{clip.name} copy", frames, fps=25.0))
    assert found(shards_of(tmp_path, clips)) == {frozenset((clip.name, f"{clip.name} copy")) for clip in originals}


def run(arguments: Sequence[str], ffmpeg: Path, frames: np.ndarray | None = None) -> bytes:
    command = [str(ffmpeg), "-v", "error", *arguments]
    return subprocess.run(
        command, input=None if frames is None else frames.tobytes(), capture_output=True, check=True
    ).stdout


def test_a_part_of_a_longer_clip_is_found(tmp_path: Path) -> None:
    long = scene(3, frames=90)
    assert found(shards_of(tmp_path, [Made("long", long), Made("cut out", long[31:52]), Made("other", scene(4))])) == {
        frozenset(("long", "cut out"))
    }


def test_clips_of_one_name_are_not_compared_and_workers_change_nothing(tmp_path: Path) -> None:
    clips = [Made(f"{n}", scene(n), f"group {n}") for n in range(3)]
    copies = [Made(f"{n} copy", CHANGES["jpeg"](scene(n)), f"group {min(n, 1)}") for n in range(3)]
    shards = shards_of(tmp_path, clips + copies)
    pairs = [found(shards, workers=workers, every=every) for workers in (1, 3) for every in (True, False)]
    assert all(got == {frozenset(("2", "2 copy"))} for got in pairs)
    rows = rows_of(shards)
    only = [rows["0"], rows["1"], rows["2"]]
    assert near_duplicates(shards, only, apart=["a", "b", "c"], bits=BITS) == []
    assert near_duplicates(shards, [], apart=[], bits=BITS) == []


def test_of_names_that_are_joined_the_first_stays() -> None:
    groups = ["d", "c", "b", "a", "e", "b"]
    assert group_names(groups, []) == groups
    assert group_names(groups, [(0, 1), (4, 5)]) == ["c", "c", "b", "a", "b", "b"]
    assert group_names(groups, [(0, 1), (1, 2), (3, 0)]) == ["a", "a", "a", "a", "e", "a"]
