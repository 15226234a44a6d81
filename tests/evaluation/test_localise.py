"""From what is believed of windows to stretches: where they begin and end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidpred.evaluation.localise import (
    grid_within,
    happening,
    means,
    per_frame,
    proposals,
    runs,
    sliding,
)

CLASSES = ("background", "jump", "run")
SPAN = 8


def believed_of(count: int, *actions: tuple[int, int, int]) -> np.ndarray:
    """What a perfect classifier believes of windows at every frame: the share of each class in the window's frames."""
    truth = np.zeros(count, int)
    for first, end, number in actions:
        truth[first:end] = number
    starts = np.arange(count - SPAN + 1)
    return np.stack([np.bincount(truth[at : at + SPAN], minlength=3) / SPAN for at in starts])


def test_runs_and_means() -> None:
    found = runs(np.array([1, 1, 0, 1, 0, 0, 1], bool))
    assert found.tolist() == [[0, 2], [3, 4], [6, 7]]
    assert runs(np.zeros(3, bool)).shape == (0, 2)
    inside, outside = means(np.array([0.0, 1, 3, 1, 0, 0]), np.array([[1, 4], [0, 6]]), 0.25)
    np.testing.assert_allclose(inside, [5 / 3, 5 / 6])
    np.testing.assert_allclose(outside, [0, 0])


def test_a_frame_is_what_the_windows_around_it_are() -> None:
    scores = believed_of(40, (12, 24, 1))
    believed = per_frame(np.arange(33), scores, count=40, span=SPAN)
    np.testing.assert_allclose(believed.sum(axis=1), 1)
    assert believed[18, 1] > 0.9
    assert believed[4, 0] == believed[35, 0] == 1
    # where the action begins and ends both are as likely
    assert believed[11, 1] < 0.5 < believed[12, 1]
    assert believed[23, 1] > 0.5 > believed[24, 1]


@settings(deadline=None, max_examples=60)
@given(st.integers(10, 25), st.integers(9, 30), st.integers(8, 20), st.integers(9, 30), st.sampled_from([1, 2]))
def test_sliding_finds_each_action_where_it_is(before: int, long: int, gap: int, other: int, stride: int) -> None:
    first, second = before + long, before + long + gap
    count = second + other + 12
    scores = believed_of(count, (before, first, 1), (second, second + other, 2))
    starts = np.unique([*range(0, count - SPAN + 1, stride), count - SPAN])
    believed = per_frame(starts, scores[starts], count=count, span=SPAN)
    found = sliding(believed, CLASSES, fps=10, least=4)
    told = sorted(found[:2])
    assert [span.label for span in told] == ["jump", "run"]
    for span, (start, end) in zip(told, [(before, first), (second, second + other)], strict=True):
        assert span.start == pytest.approx(start / 10, abs=0.31)
        assert span.end == pytest.approx(end / 10, abs=0.31)
        assert 0.5 < span.score <= 1


def test_nothing_is_found_where_nothing_happens() -> None:
    believed = np.tile([1.0, 0, 0], (50, 1))
    assert sliding(believed, CLASSES, fps=10, least=4) == []
    assert proposals(happening(believed, CLASSES), span=SPAN).shape == (0, 2)
    assert grid_within(np.zeros((0, 2), int), count=50, span=SPAN, stride=2).shape == (0,)


def test_proposals_hold_what_happens_and_little_else() -> None:
    scores = believed_of(300, (50, 70, 1), (120, 150, 2), (290, 300, 1))
    starts = np.append(np.arange(0, 293, SPAN), 292)
    believed = per_frame(starts, scores[starts], count=300, span=SPAN)
    stretches = proposals(happening(believed, CLASSES), span=SPAN)
    assert len(stretches) == 3
    for (first, end), (start, stop) in zip(stretches, [(50, 70), (120, 150), (290, 300)], strict=True):
        assert start - 2 * SPAN <= first <= start
        assert stop <= end <= stop + 2 * SPAN
    assert grid_within(stretches, count=300, span=SPAN, stride=2)[-1] == 292


def test_without_a_background_something_happens_where_a_class_is_sure() -> None:
    believed = np.array([[0.5, 0.5], [0.9, 0.1]])
    np.testing.assert_allclose(happening(believed, ("jump", "run")), [0.5, 0.9])
    np.testing.assert_allclose(happening(believed, ("background", "run")), [0.5, 0.1])


def test_a_stretch_shorter_than_a_window_gets_the_window_around_it() -> None:
    stretches = np.array([[20, 24], [0, 3], [95, 100]])
    assert grid_within(stretches, count=100, span=SPAN, stride=2).tolist() == [0, 18, 92]
