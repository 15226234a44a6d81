"""Windows and batches: the right frames, the same ones every time, evenly drawn."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vidpred.config import Augment, FlowParams, TaskParams
from vidpred.data import clips
from vidpred.data.augment import UNCHANGED as NONE
from vidpred.data.augment import Change, Region, change_flow, change_frames, draw_changes
from vidpred.data.flow_store import Quantised
from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.errors import UserError
from vidpred.types import Segment, Window


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
    assert clips.evaluation_windows([Segment(2, 5, 8)], task=task, step=1) == [Window(2, start) for start in (5, 6, 7)]


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


ALL = Augment(stride=3, scale=(0.7, 1.4), translate=5)


def test_batches_are_those_of_earlier_versions(shards: Shards) -> None:
    """What is drawn by default never changes: figures in docs/results.md depend on it."""
    source = sampler(shards, Augment())
    found = hashlib.sha256(b"".join(source.batch(step).tobytes() for step in range(5))).hexdigest()
    assert found == "d160b45a812d08b9ebcf80a972f3331ad4b1e84c6c31c5ecbb889a7110c5d159"
    same = sampler(shards, Augment(scale=(1.0, 1.0)))
    np.testing.assert_array_equal(source.batch(9), same.batch(9))


def test_seed_and_step_decide_every_change(shards: Shards) -> None:
    first, again = sampler(shards, ALL), sampler(shards, ALL)
    again.batch(3)
    np.testing.assert_array_equal(first.batch(7), again.batch(7))
    for step, sample in clips.prefetched(again, 2, 12):
        np.testing.assert_array_equal(sample.frames, first.batch(step))
    assert not np.array_equal(first.batch(7), first.batch(8))


def test_strides_are_those_that_a_clip_has_room_for(shards: Shards) -> None:
    # six frames: 1 in the clip of 6, 1 in that of 10, 1 to 3 in that of 40
    source = sampler(shards, NONE.model_copy(update={"stride": 3}))
    found = defaultdict(list)
    for window in (window for step in range(400) for window in source.batch(step)):
        distances = set(np.diff(window[:, 0, 0, 1].astype(int)))
        assert len(distances) == 1
        found[int(window[0, 0, 0, 0]), int(distances.pop())].append(int(window[0, 0, 0, 1]))
    assert found.keys() == {(100, 1), (101, 1), (102, 1), (102, 2), (102, 3)}
    for stride in (1, 2, 3):
        starts = np.bincount(found[102, stride], minlength=40)
        room = 40 - 5 * stride
        assert starts[:room].min() > 0
        assert starts[room:].sum() == 0
        assert len(found[102, stride]) == pytest.approx(sum(len(found[102, s]) for s in (1, 2, 3)) / 3, rel=0.1)
    doubled = sampler(shards, NONE.model_copy(update={"stride": 3}), interval=2).batch(0)
    assert {int(d) for window in doubled for d in np.diff(window[:, 0, 0, 1].astype(int))} == {2, 4, 6}


def test_one_change_leaves_the_draws_of_the_others_alone(shards: Shards) -> None:
    def batch(**changes: Any) -> np.ndarray:
        return sampler(shards, Augment(**{"colour": False, "reverse": False} | changes)).batch(0)

    plain, shifted, strided, both = batch(), batch(translate=5), batch(stride=3), batch(translate=5, stride=3)
    assert (plain[..., 0] == both[..., 0]).all()  # the same clips
    assert (plain[..., 2] == strided[..., 2]).all()  # flipped and transposed alike
    assert (shifted[..., 2] == both[..., 2]).all()  # and shifted
    assert (strided[..., 1] == both[..., 1]).all()  # and strided
    assert (plain != both).any(axis=(0, 1, 2, 3))[1:].all()


def test_frames_of_a_window_are_moved_alike(tmp_path: Path) -> None:
    still = np.broadcast_to(np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8), (12, 16, 16, 3))
    (tmp_path / "0").write_bytes(still.tobytes())
    raw = [RawClip("0", "0" * 64, "0" * 64, 0, "g", "", 10.0, 1.0, tmp_path / "0", 12)]
    write_shards(tmp_path / "s", raw, [], height=16, width=16, fps=10, buckets=1, parameters={}, ffmpeg="")
    windows = [w for step in range(4) for w in sampler(Shards(tmp_path / "s"), ALL).batch(step)]
    assert all((window == window[0]).all() for window in windows)
    assert len({window.tobytes() for window in windows}) == len(windows)


@pytest.mark.parametrize(
    ("augment", "scale"),
    [({"translate": 6}, 1.0), ({"scale": (1.4, 1.4)}, 1.4), ({"scale": (0.7, 0.7), "translate": 6}, 0.7)],
)
def test_a_moving_dot_ends_where_it_should(augment: dict[str, Any], scale: float) -> None:
    """A soft dot that goes 2 pixels right and 1 down a frame, in the middle of a frame of 64 by 64 pixels."""
    y, x = np.mgrid[:64, :64]
    centres = [(28 + i, 26 + 2 * i) for i in range(4)]
    dots = [255 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 8) for a, b in centres]
    frames = np.repeat(np.stack(dots).astype(np.uint8)[..., None], 3, axis=-1)
    wanted, places = NONE.model_copy(update=augment), set()
    rng = np.random.default_rng(0)
    for step in range(10):
        for change in draw_changes(wanted, rng, seed=0, step=step, count=8, height=64, width=64):
            assert change.region is not None or scale == 1
            top, left, height, width = change.region or (0, 0, 64, 64)
            assert height == width == round(64 / scale)
            out = np.empty_like(frames)
            change_frames(frames, change, out)
            for frame, (row, column) in zip(out[..., 0].astype(float), centres, strict=True):
                expected = (row + 0.5 - top) * 64 / height - 0.5, (column + 0.5 - left) * 64 / width - 0.5
                if not all(12 < e < 52 for e in expected):  # not all of the dot, or its mirror image too
                    continue
                near = frame * (np.hypot(y - expected[0], x - expected[1]) < 10)
                found = (near * y).sum() / near.sum(), (near * x).sum() / near.sum()
                assert found == pytest.approx(expected, abs=0.1)
                places.add(tuple(round(e) for e in expected))
    assert len(places) > 20


def test_flow_goes_with_the_frames() -> None:
    """Of a field in which each pixel has a displacement of its own, so that nothing can be mistaken."""
    values = np.random.default_rng(0).integers(-127, 128, (3, 2, 8, 8)).astype(np.int8)
    scales = np.array([0.1, 0.2, 0.3], np.float32)
    change = Change(0.0, Region(-2, 3, 8, 8), False, True, False, True, None)
    into = Quantised(np.empty_like(values), np.empty_like(scales))
    change_flow(Quantised(values, scales), change, into)
    rows, columns = [1, 0, 0, 1, 2, 3, 4, 5], [3, 4, 5, 6, 7, 7, 6, 5]
    x, y = values[:, 0][:, rows][:, :, columns].copy(), values[:, 1][:, rows][:, :, columns].copy()
    y[:, :2] *= -1  # above the frame is its mirror image: up is down there
    x[:, :, 5:] *= -1
    x, y = y.swapaxes(1, 2)[:, :, ::-1], x.swapaxes(1, 2)[:, :, ::-1]  # transposed, then left is right
    np.testing.assert_array_equal(into.values, np.stack([-x, y], axis=1))
    np.testing.assert_array_equal(into.scales, scales)
    whole = np.full((1, 2, 64, 64), 50, np.int8)
    into = Quantised(np.empty_like(whole), np.empty(1, np.float32))
    change_flow(Quantised(whole, scales[:1]), Change(0.0, Region(5, 5, 32, 48), False, False, False, False, None), into)
    pixels = into.values * into.scales[:, None, None, None]
    np.testing.assert_allclose(pixels[:, 0], 5 * 64 / 48, atol=0.03)
    np.testing.assert_allclose(pixels[:, 1], 5 * 2, atol=0.05)


def test_a_crop_is_any_square_of_the_frame(shards: Shards) -> None:
    """Blue tells the place: windows hold squares of neighbouring pixels, the same in all of their frames."""
    corners = set()
    for step in range(8):
        for window in sampler(shards, NONE.model_copy(update={"crop": 12})).batch(step):
            assert window.shape == (6, 12, 12, 3)
            first = int(window[0, 0, 0, 2])
            expected = first + 16 * np.arange(12)[:, None] + np.arange(12)
            assert (window[..., 2] == expected).all()
            corners.add(divmod(first, 16))
    assert len(corners) > 20
    assert max(map(max, corners)) == 4
    values, scales = np.arange(1 * 2 * 64, dtype=np.int8).reshape(1, 2, 8, 8), np.ones(1, np.float32)
    into = Quantised(np.empty((1, 2, 4, 4), np.int8), np.empty(1, np.float32))
    change_flow(Quantised(values, scales), Change(0.0, Region(1, 3, 4, 4), False, False, False, False, None), into)
    np.testing.assert_array_equal(into.values, values[:, :, 1:5, 3:7])


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
    source.augment = ALL
    began = time.perf_counter()
    for step in range(20):
        source.batch(step)
    assert time.perf_counter() - began < 20 * 0.04
