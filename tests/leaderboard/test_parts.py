"""The parts of a leaderboard that stand alone: tenths by motion, where a picture zooms in, which code counts."""

from __future__ import annotations

import numpy as np
import pytest

from vidpred.leaderboard.deciles import gains_by_motion, motion_limits
from vidpred.leaderboard.page import percent, shade, short, speed
from vidpred.leaderboard.pictures import busiest
from vidpred.leaderboard.sources import code_digest


def test_gains_go_from_the_stillest_to_the_liveliest_windows() -> None:
    copied = np.array([40.0, 10.0, 20.0, 30.0])
    mine = np.array([20.0, 10.0, 20.0, 15.0])
    assert gains_by_motion(mine, copied, parts=2) == [0.0, pytest.approx(0.5)]
    assert motion_limits(copied, parts=2) == [15.0, 35.0]


def test_parts_in_which_nothing_moves_have_no_gain() -> None:
    copied = np.array([0.0, 0.0, 10.0, 10.0])
    assert gains_by_motion([1.0, 1.0, 5.0, 5.0], copied, parts=2) == [None, pytest.approx(0.5)]
    assert gains_by_motion([5.0], [10.0], parts=2) == [pytest.approx(0.5), None]


def test_pictures_zoom_in_on_what_moves() -> None:
    before = np.zeros((32, 48, 3), np.uint8)
    after = before.copy()
    after[20:28, 30:40] = 255
    left, top = busiest(before, after)
    assert left * 24 <= 30
    assert (left + 1) * 24 >= 40
    assert top * 16 <= 20
    assert (top + 1) * 16 >= 28


def test_only_the_code_that_a_model_runs_counts() -> None:
    one, other = "vidpred.models.predict.conv2d", "vidpred.models.predict.conv3d"
    assert code_digest(one) == code_digest(one)
    assert code_digest(one) != code_digest(other)
    assert code_digest(one, other) == code_digest(other, one)


def test_figures_are_told_briefly() -> None:
    assert [short(n) for n in (7, 999, 1000, 98_000_000, 3e9)] == ["7", "999", "1 k", "98 M", "3 G"]
    assert [speed(v) for v in (None, 0.53, 9.97, 1234.4)] == ["–", "0.5", "10", "1,234"]
    assert percent(-0.123) == "−12.3 %"
    assert percent(None) == "–"
    assert shade(None) == "transparent"
    assert "--good" in shade(0.2)
    assert "--bad" in shade(-0.2)
