"""Windows and batches: the right frames, the same ones every time, evenly drawn."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vidpred.config import Augment, FlowParams, TaskParams
from vidpred.data import clips
from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.errors import UserError
from vidpred.types import Segment, Window

NONE = Augment(flip=False, transpose=False, reverse=False, colour=False)


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    """Clips of 6, 10 and 40 frames of 16x16, at motions 0, 1 and 3. Red tells the clip, green the frame, blue where."""
    raw = []
    for number, (length, motion) in enumerate([(6, 0.0), (10, 1.0), (40, 3.0)]):
        frames = np.zeros((length, 16, 16, 3), np.uint8)
        frames[..., 0] = 100 + number
        frames[..., 1] = np.arange(length)[:, None, None]
        frames[..., 2] = np.arange(256).reshape(16, 16)
        (tmp_path / f"{number}").write_bytes(frames.tobytes())
        sha256 = f"{number:064x}"
        frames_of = tmp_path / f"{number}"
        raw.append(RawClip(str(number), sha256, sha256, 0, "g", "", 10.0, motion, frames_of, length))
    write_shards(tmp_path / "s", raw, [], height=16, width=16, fps=10, buckets=1, parameters={}, ffmpeg="")
    return Shards(tmp_path / "s")


def whole(shards: Shards) -> list[Segment]:
    return [Segment(row, 0, clip.length) for row, clip in enumerate(shards.clips)]


def sampler(shards: Shards, augment: Augment = NONE, **other: float) -> clips.TrainSampler:
    arguments = {"batch_size": 16, "seed": 0, "motion_share": 0.5, **other}
    return clips.TrainSampler(shards, whole(shards), context=4, horizon=2, augment=augment, **arguments)  # type: ignore[arg-type]


def test_evaluation_windows_do_not_overlap_and_never_change(shards: Shards) -> None:
    task = TaskParams(context=4, horizon=2)
    windows = clips.evaluation_windows(whole(shards), task=task)
    assert windows == [Window(0, 0), Window(1, 0), *(Window(2, start) for start in range(0, 36, 6))]
    assert windows == clips.evaluation_windows(whole(shards)[::-1], task=task)
    assert clips.evaluation_windows(whole(shards), task=task, per_clip=2) == [
        Window(0, 0),
        Window(1, 0),
        Window(2, 6),
        Window(2, 24),
    ]
    assert clips.evaluation_windows([Segment(2, 5, 12)], task=task) == [Window(2, 5), Window(2, 11)]
    strided = clips.evaluation_windows(whole(shards), task=TaskParams(context=4, horizon=1, interval=2))
    assert strided[:2] == [Window(1, 0), Window(2, 0)]
    assert clips.evaluation_windows(whole(shards), task=task, frames=14) == [Window(2, 0), Window(2, 14)]


def test_windows_hold_their_frames(shards: Shards) -> None:
    read = clips.read_windows(shards, [Window(1, 2), Window(2, 30)], count=4, interval=2)
    assert read[:, :, 0, 0, 1].tolist() == [[2, 4, 6, 8], [30, 32, 34, 36]]
    assert read[:, 0, 0, 0, 0].tolist() == [101, 102]


def test_a_batch_is_cut_into_context_and_target(shards: Shards) -> None:
    frames = clips.read_windows(shards, [Window(1, 0), Window(2, 3)], count=6)
    batch = clips.make_batch(frames, context=4)
    assert batch.context.shape == (2, 4, 3, 16, 16)
    assert batch.target.shape == (2, 2, 3, 16, 16)
    assert batch.context.dtype == torch.float32
    assert batch.flow is None
    assert float(batch.target[1, 0, 1, 0, 0]) == pytest.approx(7 / 255)
    assert float(batch.context[0, 0, 2, 1, 2]) == pytest.approx(18 / 255)  # row 1, column 2
    flow = clips.make_batch(frames, context=4, flow=FlowParams()).flow
    assert flow is not None
    assert flow.shape == (2, 3, 2, 16, 16)


def test_seed_and_step_decide_the_batch(shards: Shards) -> None:
    first, again = sampler(shards, Augment()), sampler(shards, Augment())
    again.batch(3)
    np.testing.assert_array_equal(first.batch(7), again.batch(7))
    assert not np.array_equal(first.batch(7), first.batch(8))
    assert not np.array_equal(first.batch(7), sampler(shards, Augment(), seed=1).batch(7))
    ahead = dict(clips.prefetched(first, 5, 9))
    assert list(ahead) == [5, 6, 7, 8]
    np.testing.assert_array_equal(ahead[7].frames, again.batch(7))
    assert list(clips.prefetched(first, 3, 3)) == []


def test_windows_are_drawn_evenly_or_by_motion(shards: Shards) -> None:
    # 1, 5 and 35 windows, at motions 0, 1 and 3
    def drawn(motion_share: float) -> dict[int, float]:
        source = sampler(shards, motion_share=motion_share)
        counts = Counter(int(red) for step in range(400) for red in source.batch(step)[:, 0, 0, 0, 0])
        return {red: count / 6400 for red, count in counts.items()}

    evenly = drawn(0.0)
    assert evenly[100] == pytest.approx(1 / 41, abs=0.01)
    assert evenly[101] == pytest.approx(5 / 41, abs=0.02)
    moving = drawn(1.0)
    assert 100 not in moving
    assert moving[101] == pytest.approx(5 / 110, abs=0.015)
    starts = {int(window[0, 0, 0, 1]) for step in range(300) for window in sampler(shards).batch(step)}
    assert starts == set(range(35))


def test_frames_of_a_window_are_consecutive(shards: Shards) -> None:
    for window in sampler(shards, interval=2).batch(0):
        assert np.diff(window[:, 0, 0, 1].astype(int)).tolist() == [2] * 5


@pytest.mark.parametrize(
    ("augment", "undone"),
    [
        ({"flip": True}, lambda w: {w[0, ::i, ::j, 2].tobytes() for i in (1, -1) for j in (1, -1)}),
        ({"transpose": True}, lambda w: {w[0, ..., 2].tobytes(), w[0, ..., 2].T.tobytes()}),
        ({"colour": True}, lambda w: {w[0, ..., c].tobytes() for c in range(3)}),
    ],
)
def test_changes_at_random_keep_what_a_window_shows(
    shards: Shards, augment: dict[str, bool], undone: Callable[[np.ndarray], set[bytes]]
) -> None:
    where = np.arange(256, dtype=np.uint8).reshape(16, 16).tobytes()
    source = sampler(shards, NONE.model_copy(update=augment))
    windows = [window for step in range(20) for window in source.batch(step)]
    assert all(where in undone(window) for window in windows)
    assert len({window[0, ..., 2].tobytes() for window in windows}) > 1
    blue = [np.moveaxis(window, -1, 0)[2] for window in windows]
    assert all((b == b[0]).all() or augment == {"colour": True} for b in blue)


def test_playing_backwards(shards: Shards) -> None:
    steps = Counter(
        tuple(np.diff(w[:, 0, 0, 1].astype(int)))
        for w in sampler(shards, NONE.model_copy(update={"reverse": True})).batch(0)
    )
    assert set(steps) == {(1,) * 5, (-1,) * 5}


def test_clips_that_are_too_short_are_told(shards: Shards) -> None:
    with pytest.raises(UserError, match="no training clip holds a window of 51 frames \\(the longest has 40\\)"):
        clips.TrainSampler(shards, whole(shards), context=50, horizon=1, batch_size=2, seed=0)


def test_a_batch_is_quick(digits: Path) -> None:
    from vidpred.data.split import read_split

    shards = Shards(digits / "shards")
    source = clips.TrainSampler(
        shards, read_split(digits / "split", "train"), context=5, horizon=1, batch_size=16, seed=0, augment=Augment()
    )
    took = []
    for step in range(50):
        began = time.perf_counter()
        source.batch(step)
        took.append(time.perf_counter() - began)
    assert np.median(took) < 0.004
