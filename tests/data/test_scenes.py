"""Cuts, freezes and sampling, on frames and times made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vidpred.data.scenes import Scenes, cuts_in, differences, nearest_ticks, scenes_of


def greys(*values: int, size: int = 8) -> np.ndarray:
    """One frame a value, all of its pixels alike; uint8 (T, size, size, 3)."""
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), size, size, 3)).copy()


def found(
    frames: np.ndarray,
    times: np.ndarray,
    end: float,
    *,
    fps: float | None = 10,
    cut: float | None = 30,
    freeze: float = 0.2,
    longest: float | None = 0.35,
    drop: bool = False,
) -> Scenes:
    return scenes_of(
        frames,
        times,
        end,
        fps=fps,
        cut_threshold=cut,
        freeze_threshold=freeze,
        max_freeze_seconds=longest,
        drop_repeats=drop,
    )


def shown(scenes: Scenes) -> list[list[int]]:
    return [scene.frames.tolist() for scene in scenes.scenes]


def clock(count: int, fps: float = 10) -> np.ndarray:
    return np.arange(count) / fps


# sampling


@pytest.mark.parametrize("fps", [1, 7.5, 10, 24, 30000 / 1001, 60, 240])
def test_at_its_own_rate_each_frame_is_shown_once(fps: float) -> None:
    times = np.round(np.arange(100) / fps, 6)  # as ffmpeg tells them: in microseconds
    np.testing.assert_array_equal(nearest_ticks(times, 100 / fps, fps), np.arange(100))


def test_a_faster_clock_repeats_and_a_slower_one_passes_over() -> None:
    assert nearest_ticks(clock(3), 0.3, 20).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest_ticks(clock(6, 20), 0.3, 10).tolist() == [0, 2, 4]


def test_uneven_times_are_followed() -> None:
    times = np.array([0, 0.1, 0.4, 0.5])
    assert nearest_ticks(times, 0.7, 10).tolist() == [0, 1, 1, 1, 2, 3, 3]


def test_the_clock_starts_with_the_first_frame() -> None:
    times = np.array([5.03, 5.13, 5.33])
    assert nearest_ticks(times, 5.43, 10).tolist() == [0, 1, 1, 2]


def test_frames_at_one_time_are_one_frame() -> None:
    assert nearest_ticks(np.array([0, 0, 0, 0.1]), 0.2, 10).tolist() == [2, 3]


@pytest.mark.parametrize(("end", "expected"), [(0.0, [0]), (0.04, [0]), (0.14, [0]), (0.15, [0, 0]), (2.0, [0] * 20)])
def test_a_single_frame_lasts_until_its_end_but_is_always_shown(end: float, expected: list[int]) -> None:
    assert nearest_ticks(np.zeros(1), end, 10).tolist() == expected


def test_every_tick_shows_a_frame_that_has_begun_within_half_a_tick() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        times = np.cumsum(rng.exponential(rng.uniform(0.005, 0.4), rng.integers(1, 40)))
        end, fps = times[-1] + rng.uniform(0, 1), float(rng.uniform(1, 60))
        picked = nearest_ticks(times, end, fps)
        assert len(picked) == max(1, np.floor((end - times[0]) * fps + 0.5))
        ticks = times[0] + np.arange(len(picked)) / fps
        assert (np.diff(picked) >= 0).all()
        assert (times[picked] <= ticks + 0.5 / fps + 1e-9).all()
        following = np.append(times, np.inf)[picked + 1]
        assert (following > ticks + 0.5 / fps - 1e-9).all()


# repeats


def test_repeats_are_counted_on_the_sources_frames() -> None:
    change, repeats = differences(greys(10, 10, 20, 20, 20, 30), freeze_threshold=0)
    assert change.tolist() == [0, 0, 10, 0, 0, 10]
    assert repeats.tolist() == [False, True, False, True, True, False]


def test_noise_under_the_threshold_is_a_repeat_and_above_it_is_not() -> None:
    frames = greys(100, 100, 100)
    frames[1, :, :, 0] += 1  # a third of a grey level in the mean
    assert differences(frames, freeze_threshold=0.4)[1].tolist() == [False, True, True]
    assert differences(frames, freeze_threshold=0.3)[1].tolist() == [False, False, False]


def test_a_repeat_is_left_out_where_that_is_wanted() -> None:
    """Twenty-four frames brought to thirty: every fifth is shown twice."""
    frames, times = greys(10, 12, 14, 16, 16, 18, 20, 20), clock(8, 30)
    assert shown(found(frames, times, 8 / 30, fps=None, drop=True)) == [[0, 1, 2, 3, 5, 6]]
    assert shown(found(frames, times, 8 / 30, fps=None)) == [list(range(8))]


def test_a_slow_fade_is_no_still() -> None:
    """Each frame differs from the one before by less than the threshold, but not from where it began."""
    frames = greys(*[100] * 40)
    for t, frame in enumerate(frames):
        frame.reshape(-1)[: 4 * t] += 1  # a forty-eighth of a grey level more with every frame
    _, repeats = differences(frames, freeze_threshold=0.1)
    assert repeats.any()
    assert (~repeats).sum() == 8
    assert len(found(frames, clock(40), 4.0, freeze=0.1, longest=0.5).scenes) == 1


# cuts


def test_a_cut_ends_a_clip() -> None:
    scenes = found(greys(10, 12, 14, 16, 200, 202, 204, 206), clock(8), 0.8)
    assert shown(scenes) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [scene.start_seconds for scene in scenes.scenes] == [0, 0.4]
    assert scenes.cuts == 1


def test_cuts_are_not_looked_for_where_none_are_wanted() -> None:
    scenes = found(greys(10, 12, 14, 16, 200, 202, 204, 206), clock(8), 0.8, cut=None)
    assert shown(scenes) == [list(range(8))]
    assert scenes.cuts == 0


def test_fast_motion_is_no_cut() -> None:
    values = [0, 50, 100, 150, 200, 250, 200, 150]
    assert found(greys(*values), clock(8), 0.8).cuts == 0


def test_a_small_change_is_no_cut_however_it_stands_out() -> None:
    assert found(greys(0, 0, 0, 29, 29, 29), clock(6), 0.6, longest=None).cuts == 0
    assert found(greys(0, 0, 0, 31, 31, 31), clock(6), 0.6, longest=None).cuts == 1


def test_a_flash_is_cut_out() -> None:
    scenes = found(greys(10, 12, 14, 16, 250, 18, 20, 22, 24), clock(9), 0.9)
    assert shown(scenes) == [[0, 1, 2, 3], [5, 6, 7, 8]]


def test_a_cut_is_seen_through_repeats() -> None:
    """A film at half the rate of its file: every frame twice. Its repeats must not count as calm."""
    moving = [0, 40, 80, 120, 160, 200]
    frames = greys(*np.repeat(moving, 2))
    assert found(frames, clock(12, 20), 0.6).cuts == 0
    cut = greys(*np.repeat([0, 4, 8, 12, 200, 204, 208, 212], 2))
    assert found(cut, clock(16, 20), 0.8).cuts == 1


def test_one_change_alone_is_a_cut() -> None:
    assert cuts_in(np.array([0.0, 90.0]), np.zeros(2, bool), 30).tolist() == [False, True]
    assert cuts_in(np.array([0.0]), np.zeros(1, bool), 30).tolist() == [False]


# freezes


def test_a_freeze_ends_a_clip_and_the_next_begins_where_it_moves_again() -> None:
    #                  0   1   2   3   4   5   6   7   8    9   10
    frames = greys(*[10, 20, 30, 40, 40, 40, 40, 40, 50, 60, 70])
    scenes = found(frames, clock(11), 1.1)
    assert shown(scenes) == [[0, 1, 2, 3], [7, 8, 9, 10]]
    assert (scenes.freezes, scenes.frozen_frames, scenes.cuts) == (1, 4, 0)
    assert [scene.start_seconds for scene in scenes.scenes] == [0, 0.7]


def test_a_short_freeze_is_kept_as_it_is() -> None:
    frames = greys(10, 20, 30, 30, 30, 40, 50)
    scenes = found(frames, clock(7), 0.7)
    assert shown(scenes) == [list(range(7))]
    assert (scenes.freezes, scenes.frozen_frames) == (0, 2)


def test_freezes_are_counted_but_end_nothing_where_none_is_too_long() -> None:
    frames = greys(10, 20, 30, *[40] * 20)
    scenes = found(frames, clock(23), 2.3, longest=None)
    assert shown(scenes) == [list(range(23))]
    assert (scenes.freezes, scenes.frozen_frames) == (0, 19)


def test_a_long_delay_is_a_freeze_too() -> None:
    """A GIF that holds one picture for two seconds has no repeats, but stands still."""
    times = np.array([0, 0.1, 0.2, 0.3, 2.3, 2.4, 2.5])
    scenes = found(greys(10, 20, 30, 40, 50, 60, 70), times, 2.6)
    assert shown(scenes) == [[0, 1, 2, 3], [4, 5, 6]]
    assert (scenes.freezes, scenes.frozen_frames) == (1, 0)
    assert scenes.scenes[1].start_seconds == 2.3


def test_a_freeze_whose_last_repeat_is_long_too_leaves_nothing_of_itself() -> None:
    times = np.array([0, 0.1, 0.2, 0.3, 0.9, 1.0, 1.1])
    scenes = found(greys(10, 20, 30, 30, 40, 50, 60), times, 1.2)
    assert shown(scenes) == [[0, 1, 2], [4, 5, 6]]


def test_frozen_ends_are_cut_off() -> None:
    frames = greys(10, 10, 10, 10, 10, 20, 30, 40, 50, 50, 50, 50, 50)
    scenes = found(frames, clock(13), 1.3)
    assert shown(scenes) == [[4, 5, 6, 7, 8]]
    assert (scenes.freezes, scenes.frozen_frames) == (2, 8)


def test_a_freeze_at_the_limit_is_kept() -> None:
    """Three and a half tenths, in decimals that floating point does not have."""
    times = np.array([0, 0.1, 0.2, 0.55, 0.65])
    assert len(found(greys(10, 20, 30, 40, 50), times, 0.75).scenes) == 1
    times[3:] += 0.01
    assert len(found(greys(10, 20, 30, 40, 50), times, 0.76).scenes) == 2


def test_a_slow_source_is_no_freeze_before_resampling() -> None:
    """Four frames a second shown at twelve: every frame three times, none for longer than a quarter of a second."""
    scenes = found(greys(10, 20, 30, 40), clock(4, 4), 1.0, fps=12)
    assert shown(scenes) == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]]
    assert (scenes.freezes, scenes.frozen_frames) == (0, 0)


def test_a_still_gives_nothing() -> None:
    assert shown(found(greys(*[7] * 30), clock(30), 3.0)) == []
    assert shown(found(greys(7), np.zeros(1), 20.0)) == []


@pytest.mark.parametrize("fps", [10, 25, 60])
def test_a_picture_that_hangs_at_the_end_is_no_clip_of_its_own(fps: float) -> None:
    result = found(greys(0, 40, 80, 120, 160, *[200] * 8), clock(13), 1.3, fps=fps)
    assert len(result.scenes) == 1
    assert result.freezes == 1


def test_a_cut_right_behind_a_freeze() -> None:
    frames = greys(10, 20, 30, 40, 40, 40, 40, 40, 200, 202, 204, 206)
    scenes = found(frames, clock(12), 1.2)
    assert shown(scenes) == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert (scenes.freezes, scenes.cuts) == (1, 1)


def test_without_a_rate_all_frames_of_the_source_are_taken() -> None:
    times = np.array([0, 0.01, 0.3, 0.31, 0.5, 0.81])
    assert shown(found(greys(10, 20, 30, 40, 50, 60), times, 1.0, fps=None)) == [[0, 1, 2, 3, 4, 5]]


def test_whatever_the_source_scenes_are_in_order_apart_and_without_what_ended_them() -> None:
    rng = np.random.default_rng(11)
    several = 0
    for _ in range(300):
        count = int(rng.integers(1, 50))
        steps = rng.choice([0, 0, 1, 3, 90], count)
        frames = greys(*(np.cumsum(steps) % 256), size=2)
        times = np.cumsum(rng.choice([0.02, 0.1, 0.1, 0.6], count))
        end = float(times[-1] + 0.1)
        fps = float(rng.choice([5, 10, 25])) if rng.random() < 0.8 else None
        result = found(frames, times, end, fps=fps)
        change, repeats = differences(frames, freeze_threshold=0.2)
        cuts = np.flatnonzero(cuts_in(change, repeats, 30))
        picture = np.cumsum(~repeats)  # which one each frame shows
        last = -1
        for scene in result.scenes:
            picked = scene.frames
            assert len(picked) > 1
            assert (np.diff(picked) >= 0).all()
            assert picked[0] > last
            assert picked[-1] < count
            assert not any(picked[0] < cut <= picked[-1] for cut in cuts)
            last = int(picked[-1])
            if fps is not None:  # no picture is shown for longer than the limit, but for the rounding to ticks
                longest = max(np.bincount(picture[picked]))
                assert longest <= 0.35 * fps + 1
        assert result.cuts == len(cuts)
        assert result.frozen_frames == repeats.sum()
        again = found(frames, times, end, fps=fps)
        assert shown(again) == shown(result)
        several += len(result.scenes) > 1
    assert several > 50
